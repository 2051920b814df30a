package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/callstack"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// StackSource is the kernel side's memory of who opened sockets, and of who read
// their end of file.
type StackSource interface {
	SocketStacks(id flow.ID) (flow.SocketStacks, error)
	UserStack(id flow.StackID) (flow.UserStack, bool, error)
	// WatchEOF begins or ends looking at who reads the end of file.
	WatchEOF(on bool) error
	// Leaky names processes whose stacks are taken whatever the budget says.
	Leaky(pids []uint32) error
}

// Stacks is what an Agent needs to say which code opened a socket.
type Stacks struct {
	Source  StackSource
	Symbols callstack.Symbols
	// NoAccepts: what accept returns cannot be seen here.
	NoAccepts bool
}

const (
	// earlyMost is how many sockets' stacks are looked up in a tick before their
	// time: the process may be gone when they are flagged.
	earlyMost = 64
	// stackPatience is how long findings wait, all together, for functions that
	// are being looked up. It is less than finding the holders takes on a busy
	// host; what is not there then comes with an update.
	stackPatience = 30 * time.Millisecond
	// stackPause is how long nothing waits after that was not enough.
	stackPause = time.Second
	// eofLinger is how long the end of file is watched after the last finding in
	// CLOSE_WAIT, leakyLinger how long a process is taken for a leaky one.
	eofLinger   = time.Minute
	leakyLinger = 10 * time.Minute
	leakyMost   = 256
)

// stacks finds the stacks of findings.
type stacks struct {
	Stacks
	book *callstack.Book

	early []flow.ID
	// lines are the candidates of the pending verdicts, asked what is looked up.
	lines [][]callstack.Candidate
	asked []*callstack.Resolved
	lacks map[lack]*finding.Stack
	// impatient is until when nothing waits.
	impatient time.Duration
	// refused: the kernel side has not taken all stacks since the start.
	refused bool

	// closeWaits counts open findings in CLOSE_WAIT; eofUntil is how long the end
	// of file is watched after that.
	closeWaits int
	eofOn      bool
	eofUntil   time.Duration
	eofFailed  sync.Once
	// leaky is until when a process is one, by pid.
	leaky      map[uint32]time.Duration
	leakyDirty bool
}

func newStacks(s *Stacks) *stacks {
	if s == nil {
		return nil
	}
	return &stacks{Stacks: *s, book: callstack.New(s.Symbols), lacks: make(map[lack]*finding.Stack), leaky: make(map[uint32]time.Duration)}
}

// startStacks begins to look up functions, until ctx is done.
func (a *Agent) startStacks(ctx context.Context) {
	if a.stacks != nil {
		a.aside.Go(func() { a.stacks.book.Run(ctx) })
	}
}

// promoted remembers a socket that has just outlived the young generation.
func (s *stacks) promoted(id flow.ID) {
	if s != nil && len(s.early) < earlyMost {
		s.early = append(s.early, id)
	}
}

// lookEarly asks for the stacks of those, so that their functions are known when
// they are flagged, or their process ends before.
func (s *stacks) lookEarly() error {
	for _, id := range s.early {
		known, err := s.Source.SocketStacks(id)
		if err != nil {
			return err
		}
		for _, c := range callstack.Candidates(finding.CloseWaitSilent, known) {
			if _, _, err := s.lookUp(c); err != nil {
				return err
			}
		}
	}
	s.early = s.early[:0]
	return nil
}

// resolved returns what is known of a stack and asks for what is not; nil if there
// is none or too many wait.
func (s *stacks) resolved(id flow.StackID) (*callstack.Resolved, error) {
	if !id.Taken() {
		return nil, nil
	}
	if r := s.book.Get(id); r != nil {
		return r, nil
	}
	us, ok, err := s.Source.UserStack(id)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return s.book.Know(id, finding.MissingEvicted), nil
	case us.PID == 0:
		return s.book.Know(id, finding.MissingUnseenProcess), nil
	}
	return s.book.Ask(id, us), nil
}

// lookUp is resolved for a candidate and for where its goroutine was made.
func (s *stacks) lookUp(c callstack.Candidate) (r, made *callstack.Resolved, err error) {
	if r, err = s.resolved(c.ID); err != nil {
		return nil, nil, err
	}
	return r, s.book.Maker(r, c.Goroutine), nil
}

// release lets go of memory that only thousands of findings at once need.
func (s *stacks) release() {
	if s != nil {
		s.lines, s.asked = nil, nil
	}
}

// findStacks looks for the stacks of what opens or updates. What is not known yet
// is asked for, and gets a moment.
func (a *Agent) findStacks() error {
	s := a.stacks
	if s == nil {
		return nil
	}
	s.lines, s.asked = s.lines[:0], s.asked[:0]
	for _, v := range a.pending {
		known, err := s.Source.SocketStacks(v.Sock.ID)
		if err != nil {
			return fmt.Errorf("finding stacks: %w", err)
		}
		line := callstack.Candidates(v.Kind, known)
		s.lines = append(s.lines, line)
		for _, c := range line {
			r, made, err := s.lookUp(c)
			if err != nil {
				return fmt.Errorf("finding stacks: %w", err)
			}
			for _, asked := range []*callstack.Resolved{r, made} {
				if asked != nil && !asked.Ready() {
					s.asked = append(s.asked, asked)
				}
			}
		}
	}
	s.await(a.cfg.BootTime())
	for i, v := range a.pending {
		stack, err := a.stackOf(v, s.lines[i])
		if err != nil {
			return fmt.Errorf("finding stacks: %w", err)
		}
		v.Stack = stack
	}
	return nil
}

// await gives what was asked for a moment.
func (s *stacks) await(now time.Duration) {
	if len(s.asked) == 0 || now < s.impatient {
		return
	}
	late := time.NewTimer(stackPatience)
	defer late.Stop()
	for _, r := range s.asked {
		select {
		case <-r.Done():
		case <-late.C:
			s.impatient = now + stackPause
			return
		}
	}
}

// stackOf is what is said of a finding: the first of the candidates that names
// functions, else what was said before, else why there is none.
func (a *Agent) stackOf(v *detect.Verdict, line []callstack.Candidate) (*finding.Stack, error) {
	s, said := a.stacks, a.open[v.ID].stack
	var poor *finding.Stack
	for _, c := range line {
		stack, err := s.told(c)
		if err != nil {
			return nil, err
		}
		if stack.Missing == "" {
			return stack, nil
		}
		if poor == nil || len(poor.Frames) == 0 && len(stack.Frames) > 0 {
			poor = stack
		}
	}
	switch {
	case said != nil && len(said.Frames) > 0:
		return said, nil // the kernel side had to make room
	case poor != nil:
		return poor, nil
	}
	return s.lacking(finding.StackNone, a.whyNone(v)), nil
}

func (s *stacks) told(c callstack.Candidate) (*finding.Stack, error) {
	if c.ID == flow.StackEmpty {
		return s.lacking(c.Of, finding.MissingNoFrames), nil
	}
	r, made, err := s.lookUp(c)
	if err != nil {
		return nil, err
	}
	if r == nil || !r.Ready() {
		return s.lacking(c.Of, finding.MissingPending), nil
	}
	return r.AsOf(c, made), nil
}

// lacking is shared by all findings that lack a stack for one reason.
func (s *stacks) lacking(of finding.StackOf, why string) *finding.Stack {
	key := lack{of, why}
	if s.lacks[key] == nil {
		s.lacks[key] = &finding.Stack{Of: of, Missing: why}
	}
	return s.lacks[key]
}

type lack struct {
	of  finding.StackOf
	why string
}

// whyNone says why no stack of the socket was taken.
func (a *Agent) whyNone(v *detect.Verdict) string {
	switch {
	case detect.Unaccepted(&v.Sock):
		return finding.MissingUnaccepted
	case v.Sock.TimeWait:
		return finding.MissingClosed
	case v.Since < a.started:
		return finding.MissingOlder
	case a.stacks.NoAccepts && v.Sock.Role != flow.RoleClient:
		return finding.MissingNoHook
	case a.stacks.refused:
		return finding.MissingOverBudget
	}
	return finding.MissingNotSeen
}
