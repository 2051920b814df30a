// Package callstack turns user stacks into functions beside the agent's loop: a
// goroutine of its own reads the files of programs, which may be slow, and what it
// found is kept by the stack's id.
package callstack

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

const (
	// keepMost is how many stacks are kept in each of two generations. Programs
	// connect and accept in few places: 1,024 stacks of 30 frames are 3 MB.
	keepMost = 512
	// queueMost is how many wait to be looked up; more are asked for again later.
	queueMost = 256
	// patience is how long one lookup may take: a first one reads a program's
	// function table, some 10 ms; a file system may not answer at all.
	patience = 2 * time.Second
)

// Symbols finds functions; *stack.Symbols does.
type Symbols interface {
	Resolve(ctx context.Context, p stack.Process, addrs []uint64) ([]finding.Frame, error)
}

// Resolved is what became of a stack. Its fields are set once Done is closed, and
// not changed after.
type Resolved struct {
	// Frames may be set beside Missing.
	Frames  []finding.Frame
	Missing string

	done  chan struct{}
	stack flow.UserStack
	again bool // it may be better at another try
	as    [finding.StackCount]*finding.Stack
}

// As returns the stack for findings, which share it. For the asking goroutine, and
// for what is ready.
func (r *Resolved) As(of finding.StackOf) *finding.Stack {
	if r.as[of] == nil {
		r.as[of] = &finding.Stack{Of: of, Frames: r.Frames, Missing: r.Missing}
	}
	return r.as[of]
}

// Done is closed when the stack was looked up.
func (r *Resolved) Done() <-chan struct{} { return r.done }

// Ready reports whether the stack was looked up.
func (r *Resolved) Ready() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Book keeps stacks. Ask and Get are for one goroutine, Run is another one.
type Book struct {
	symbols Symbols
	queue   chan *Resolved

	mu           sync.Mutex
	young, older map[flow.StackID]*Resolved
}

// New returns an empty Book.
func New(symbols Symbols) *Book {
	return &Book{
		symbols: symbols,
		queue:   make(chan *Resolved, queueMost),
		young:   make(map[flow.StackID]*Resolved),
		older:   make(map[flow.StackID]*Resolved),
	}
}

// Get returns what is known of a stack, nil if it has to be asked for.
func (b *Book) Get(id flow.StackID) *Resolved {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.young[id]
	if r == nil {
		if r = b.older[id]; r == nil {
			return nil
		}
		b.keep(id, r)
	}
	if r.Ready() && r.again {
		delete(b.young, id)
		delete(b.older, id)
		return nil
	}
	return r
}

// Ask has a stack looked up; nil if too many wait.
func (b *Book) Ask(id flow.StackID, s flow.UserStack) *Resolved {
	r := &Resolved{done: make(chan struct{}), stack: s}
	select {
	case b.queue <- r:
	default:
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(id, r)
	return r
}

// Know keeps why there is no stack of that id.
func (b *Book) Know(id flow.StackID, missing string) *Resolved {
	r := &Resolved{done: make(chan struct{}), Missing: missing}
	close(r.done)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep(id, r)
	return r
}

// keep puts a stack among the young; what was not asked for while so many others
// were is forgotten.
func (b *Book) keep(id flow.StackID, r *Resolved) {
	if len(b.young) >= keepMost {
		b.older, b.young = b.young, make(map[flow.StackID]*Resolved)
	}
	b.young[id] = r
}

// Run looks up what was asked for until ctx is done.
func (b *Book) Run(ctx context.Context) {
	for {
		select {
		case r := <-b.queue:
			r.look(ctx, b.symbols)
		case <-ctx.Done():
			return
		}
	}
}

// Look looks a stack up at once, for who keeps no Book.
func Look(ctx context.Context, symbols Symbols, s flow.UserStack) *Resolved {
	r := &Resolved{done: make(chan struct{}), stack: s}
	r.look(ctx, symbols)
	return r
}

func (r *Resolved) look(ctx context.Context, symbols Symbols) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := stack.Process{PID: r.stack.PID, Start: r.stack.Start, Stack: r.stack.Base}
	frames, err := symbols.Resolve(ctx, p, r.stack.Addrs)
	r.Frames, r.Missing, r.again = verdict(frames, err)
	close(r.done)
}

// verdict says what there is, and whether another try may bring more.
func verdict(frames []finding.Frame, err error) ([]finding.Frame, string, bool) {
	switch {
	case errors.Is(err, stack.ErrGone), errors.Is(err, stack.ErrReused), errors.Is(err, stack.ErrExec):
		return nil, finding.MissingProcessGone, false
	case errors.Is(err, stack.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, finding.MissingUnreadable, true
	case err != nil, len(frames) == 0:
		return nil, finding.MissingUnreadable, false
	}
	frames = code(frames)
	if _, ok := (&finding.Stack{Frames: frames}).Own(); ok {
		return frames, "", false
	}
	for _, f := range frames {
		if !f.Plumbing {
			return frames, "", false // a place in the program's own file, without a name
		}
	}
	return frames, finding.MissingNoFramePointers, false
}

// code cuts a stack where it leads to what is no code: without frame pointers the
// kernel takes for one whatever a register holds.
func code(frames []finding.Frame) []finding.Frame {
	for i, f := range frames {
		if f.Function == "" && f.Module == "" {
			return frames[:i]
		}
	}
	return frames
}
