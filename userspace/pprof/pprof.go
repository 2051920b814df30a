// Package pprof asks Go programs with findings what their goroutines do. A
// program that imports net/http/pprof answers that by itself, on one of the
// addresses it listens at; what it answers is in other people's hands, so all
// that is read and kept of it is bounded. Nothing waits for it: an answer is
// told with the next record about the program.
package pprof

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

const (
	// every is how often one program is asked at most, everyFailed how often one
	// that did not answer as hoped: it would be asked at ports that serve
	// something else.
	every       = time.Minute
	everyFailed = 10 * time.Minute
	// forget is how long nothing is said about a program until it is forgotten.
	forget = time.Hour
	// maxPrograms is how many programs are known. Of each some 30 KB are kept.
	maxPrograms = 64
	// maxQueue is how many programs may wait to be asked; who finds no room is
	// asked at its next record.
	maxQueue = 16
)

// patience is how long things may take.
type patience struct {
	// program is for one, all its addresses together, answer for one request.
	program, answer time.Duration
	// connect is short: it is to this host, and one that hangs would be a finding
	// of its own.
	connect time.Duration
}

var usual = patience{program: 6 * time.Second, answer: 2 * time.Second, connect: 500 * time.Millisecond}

// Options says where to look.
type Options struct {
	// Only, if valid, is the one address to ask at; else all that the program listens at
	// are tried.
	Only netip.AddrPort
	// Dumps keeps the answers, nil for not at all.
	Dumps *Dumps
	// Proc is where the proc file system is mounted.
	Proc string
	// Count is told of each attempt, by its result; one of Results.
	Count func(result string)
	// Failed is told of a dump that could not be kept.
	Failed func(error)
	Now    func() time.Time
}

// Capture asks programs. About is for one goroutine, Run is another one.
type Capture struct {
	opts  Options
	queue chan stack.Process
	// self is this process: it has nothing to ask itself.
	self int
	// patience is the usual one; a test has more.
	patience patience

	mu       sync.Mutex
	programs map[stack.Process]*program
}

// program is what is known of one.
type program struct {
	// next is when it may be asked again, used when something was said about it.
	next, used time.Time
	waiting    bool
	// native programs are no Go programs.
	native  bool
	missing string
	digest  *digest
	taken   time.Time
	dump    string
	// at is where it answered last, suspect a port of sockets in limbo: its
	// handler may not do well with one more connection.
	at      netip.AddrPort
	suspect uint16
}

// The results of asking a program.
const (
	ResultOK         = "ok"
	ResultNative     = "not_go"
	ResultNone       = "no_pprof"
	ResultGone       = "process_gone"
	ResultNoEndpoint = "no_endpoint"
	ResultNoAnswer   = "no_answer"
	ResultDenied     = "no_permission"
	ResultTooLarge   = "too_large"
	ResultBroken     = "no_profile"
)

// Results lists them all.
func Results() []string {
	return []string{
		ResultOK, ResultNative, ResultNone, ResultGone, ResultNoEndpoint, ResultNoAnswer, ResultDenied, ResultTooLarge, ResultBroken,
	}
}

// errResult is an error that has a word for it.
type errResult struct {
	word string
	err  error
}

func (e *errResult) Error() string { return e.word + ": " + e.err.Error() }
func (e *errResult) Unwrap() error { return e.err }

func failed(word string, err error) error { return &errResult{word, err} }

// resultOf returns the word for an error.
func resultOf(err error) string {
	var r *errResult
	switch {
	case err == nil:
		return ResultOK
	case errors.As(err, &r):
		return r.word
	}
	return ResultNoAnswer
}

// New returns a Capture that has asked nobody.
func New(opts Options) *Capture {
	return &Capture{opts: opts, self: os.Getpid(), patience: usual, queue: make(chan stack.Process, maxQueue), programs: make(map[stack.Process]*program)}
}

// About returns what is known of the goroutines of the process that a record names,
// and has it asked if it is time; nil if nothing is known. It never waits.
func (c *Capture) About(f *finding.Finding) *finding.Goroutines {
	p := &f.Owner.Process
	if c == nil || p.Relation != finding.RelationHolder || p.PID == 0 || p.StartBoot == 0 || int(p.PID) == c.self {
		return nil
	}
	now := c.opts.Now()
	key := stack.Process{PID: p.PID, Start: p.StartBoot}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.programs[key]
	if known == nil {
		c.makeRoom(now)
		known = &program{}
		c.programs[key] = known
	}
	known.used = now
	if f.Sock.Role != flow.RoleClient {
		known.suspect = f.Sock.Local.Port()
	}
	if !known.waiting && !known.native && !now.Before(known.next) {
		select {
		case c.queue <- key:
			known.waiting = true
		default:
		}
	}
	switch {
	case known.digest != nil:
		g := known.digest.about(f.Stack)
		g.Dump, g.Age = known.dump, now.Sub(known.taken)
		return g
	case known.missing != "":
		return &finding.Goroutines{Missing: known.missing}
	}
	return nil
}

// makeRoom forgets who was not spoken of for long, and if need be who was not for the
// longest time.
func (c *Capture) makeRoom(now time.Time) {
	var oldest stack.Process
	var at time.Time
	for key, p := range c.programs {
		if now.Sub(p.used) > forget && !p.waiting {
			delete(c.programs, key)
			continue
		}
		if !p.waiting && (at.IsZero() || p.used.Before(at)) {
			oldest, at = key, p.used
		}
	}
	if len(c.programs) >= maxPrograms {
		delete(c.programs, oldest)
	}
}

// Run asks programs until ctx is done.
func (c *Capture) Run(ctx context.Context) {
	for {
		select {
		case key := <-c.queue:
			c.ask(ctx, key)
		case <-ctx.Done():
			return
		}
	}
}

// ask asks one program and keeps what it says.
func (c *Capture) ask(ctx context.Context, key stack.Process) {
	ctx, cancel := context.WithTimeout(ctx, c.patience.program)
	defer cancel()
	c.mu.Lock()
	last, suspect := netip.AddrPort{}, uint16(0)
	if p := c.programs[key]; p != nil {
		last, suspect = p.at, p.suspect
	}
	c.mu.Unlock()
	a, err := c.answer(ctx, key, last, suspect)
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // the daemon ends
	}
	result := resultOf(err)
	c.opts.Count(result)
	now := c.opts.Now()
	dump := ""
	if err == nil {
		dump = c.keep(key, a, now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.programs[key]
	if p == nil {
		return
	}
	p.waiting, p.missing = false, ""
	switch result {
	case ResultOK:
		p.digest, p.taken, p.at, p.dump = a.digest, now, a.at, dump
		p.next = now.Add(every)
		return
	case ResultNative:
		p.native = true
	case ResultNone:
		// What is not linked into it will not be later.
		p.native, p.missing = true, result
	case ResultGone:
		p.next = now.Add(everyFailed)
	default:
		p.missing, p.next = result, now.Add(everyFailed)
	}
	// What it said before may be long past.
	p.digest, p.dump = nil, ""
}

func (c *Capture) keep(key stack.Process, a *answer, now time.Time) string {
	if c.opts.Dumps == nil {
		return ""
	}
	name, err := c.opts.Dumps.Keep(a.comm, key.PID, now, a.raw)
	if err != nil {
		c.opts.Failed(err)
		return ""
	}
	return name
}
