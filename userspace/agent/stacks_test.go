package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

// fakeStacks is a kernel side that took stacks, and symbols that name each by its
// first address.
type fakeStacks struct {
	mu    sync.Mutex
	of    map[uint64]flow.SocketStacks
	known map[flow.StackID]flow.UserStack
	names map[uint64]string
	takes time.Duration
	err   error

	resolved int
	eof      bool
	leaky    []uint32
}

func (s *fakeStacks) SocketStacks(id flow.ID) (flow.SocketStacks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id.Addr], nil
}

func (s *fakeStacks) UserStack(id flow.StackID) (flow.UserStack, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	us, ok := s.known[id]
	return us, ok, nil
}

func (s *fakeStacks) WatchEOF(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eof = on
	return nil
}

func (s *fakeStacks) Leaky(pids []uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaky = slices.Clone(pids)
	return nil
}

func (s *fakeStacks) Resolve(ctx context.Context, p stack.Process, addrs []uint64) ([]finding.Frame, error) {
	s.mu.Lock()
	s.resolved++
	takes, name, err := s.takes, s.names[addrs[0]], s.err
	s.mu.Unlock()
	select {
	case <-time.After(takes):
		return []finding.Frame{{Function: name}}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeStacks) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// withStacks makes the bed's agent take them; the stacks 10 and 11 are known.
func withStacks(b *bed) *fakeStacks {
	s := &fakeStacks{
		of: map[uint64]flow.SocketStacks{},
		known: map[flow.StackID]flow.UserStack{
			10: {PID: 7, Addrs: []uint64{100}},
			11: {PID: 7, Addrs: []uint64{101}},
			12: {Addrs: []uint64{102}},
		},
		names: map[uint64]string{100: "main.open", 101: "main.read"},
	}
	b.cfg.Stacks = &Stacks{Source: s, Symbols: s}
	return s
}

// spoken is what a record says of its stack.
func spoken(f *finding.Finding) string {
	if f.Stack == nil {
		return "off"
	}
	text := f.Stack.Of.String() + " " + f.Stack.Missing
	for _, frame := range f.Stack.Frames {
		text += frame.Function
	}
	return text
}

func TestStacksOfFindings(t *testing.T) {
	closeWait := fakeSock(1, 1, flow.StateCloseWait)
	unaccepted := closeWait
	unaccepted.HasSocket = false
	server := closeWait
	server.Role = flow.RoleServer
	for _, tt := range []struct {
		name   string
		sock   flow.Sock
		of     flow.SocketStacks
		change func(b *bed, s *fakeStacks)
		want   string
	}{
		{name: "accepted", sock: closeWait, of: flow.SocketStacks{Opener: 10, Accepted: true}, want: "accept main.open"},
		{name: "connected", sock: closeWait, of: flow.SocketStacks{Opener: 10}, want: "connect main.open"},
		{name: "read to the end", sock: closeWait, of: flow.SocketStacks{Opener: 10, Reader: 11}, want: "eof_read main.read"},
		{name: "the reader is not known any more", sock: closeWait, of: flow.SocketStacks{Opener: 10, Reader: 99}, want: "connect main.open"},
		{name: "evicted", sock: closeWait, of: flow.SocketStacks{Opener: 99}, want: "connect evicted"},
		{name: "a kernel thread", sock: closeWait, of: flow.SocketStacks{Opener: flow.StackEmpty}, want: "connect no_user_frames"},
		{name: "in another pid namespace", sock: closeWait, of: flow.SocketStacks{Opener: 12}, want: "connect unseen_process"},
		{name: "unaccepted", sock: unaccepted, want: "none unaccepted"},
		{name: "not seen", sock: closeWait, want: "none not_seen"},
		{
			name: "over budget", sock: closeWait, want: "none over_budget",
			change: func(b *bed, _ *fakeStacks) { b.k.stats.StacksRefused = 1 },
		},
		{
			name: "no hook", sock: server, want: "none no_accept_hook",
			change: func(b *bed, _ *fakeStacks) { b.cfg.Stacks.NoAccepts = true },
		},
		{
			name: "no hook for others", sock: closeWait, want: "none not_seen",
			change: func(b *bed, _ *fakeStacks) { b.cfg.Stacks.NoAccepts = true },
		},
		{
			name: "the process has exited", sock: closeWait, of: flow.SocketStacks{Opener: 10}, want: "connect process_gone",
			change: func(_ *bed, s *fakeStacks) { s.err = stack.ErrGone },
		},
		{name: "off", sock: closeWait, want: "off", change: func(b *bed, _ *fakeStacks) { b.cfg.Stacks = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				s := withStacks(b)
				s.of[1] = tt.of
				if tt.change != nil {
					tt.change(b, s)
				}
				b.start()
				b.k.enter(tt.sock, task(7))
				b.pass(closeAge + inTime)
				f := b.out.take()
				if len(f) != 1 || spoken(&f[0]) != tt.want {
					t.Fatalf("%d findings, stack %q, want %q", len(f), spoken(&f[0]), tt.want)
				}
				// Who resolves says what was said before.
				b.k.move(1, flow.StateLastAck, 0)
				b.pass(inTime)
				if f := b.out.take(); len(f) != 1 || spoken(&f[0]) != tt.want {
					t.Errorf("resolved: %d findings, stack %q, want %q", len(f), spoken(&f[0]), tt.want)
				}
			})
		})
	}
}

// What was opened before the agent came is not looked for in vain.
func TestStacksOfOlder(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		withStacks(b)
		old := fakeSock(1, 1, flow.StateCloseWait)
		old.LastAck = time.Hour
		b.k.exist(old, time.Hour)
		b.start()
		b.pass(inTime)
		if f := b.out.take(); len(f) != 1 || spoken(&f[0]) != "none older_than_agent" {
			t.Errorf("%d findings, %q", len(f), spoken(&f[0]))
		}
	})
}

// Functions are looked up when a socket is promoted: they are known when it is
// flagged, and the process may have exited.
func TestStacksAreLookedUpEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := withStacks(b)
		s.of[1] = flow.SocketStacks{Opener: 10}
		s.takes = time.Second
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), task(7))
		b.pass(5 * time.Second)
		s.change(func() {
			if s.resolved != 1 {
				t.Errorf("looked up %d times in the first seconds", s.resolved)
			}
			s.known, s.err = nil, stack.ErrGone
		})
		b.pass(closeAge)
		if f := b.out.take(); len(f) != 1 || spoken(&f[0]) != "connect main.open" {
			t.Errorf("%d findings, %q", len(f), spoken(&f[0]))
		}
	})
}

// A slow look-up delays no finding, and an update has what it found.
func TestSlowSymbols(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := withStacks(b)
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), task(7))
		b.pass(closeAge - time.Second)
		s.change(func() {
			s.of[1] = flow.SocketStacks{Opener: 10}
			s.takes = patienceOfTest
		})
		b.pass(time.Second + inTime)
		if f := b.out.take(); len(f) != 1 || spoken(&f[0]) != "connect pending" {
			t.Fatalf("%d findings, %q", len(f), spoken(&f[0]))
		}
		b.pass(2 * closeAge)
		if f := b.out.take(); len(f) != 1 || spoken(&f[0]) != "connect main.open" {
			t.Errorf("%d findings, %q", len(f), spoken(&f[0]))
		}
	})
}

// patienceOfTest is longer than findings wait and shorter than a look-up may take.
const patienceOfTest = time.Second

// The end of file is watched while connections are forgotten, and a process that
// forgets has no budget for a while.
func TestLeaksAreWatched(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := withStacks(b)
		b.start()
		check := func(when string, eof bool, leaky ...uint32) {
			t.Helper()
			s.change(func() {
				if s.eof != eof || !slices.Equal(s.leaky, leaky) {
					t.Errorf("%s: end of file watched %v, leaky %v; want %v, %v", when, s.eof, s.leaky, eof, leaky)
				}
			})
		}
		sock := fakeSock(1, 1, flow.StateCloseWait)
		b.k.enter(sock, task(7))
		b.k.hold(1, task(7), 3)
		b.pass(closeAge - time.Second)
		check("before", false)
		b.pass(time.Second + 2*inTime)
		check("flagged", true, 7)
		b.k.move(1, flow.StateLastAck, 0)
		b.pass(eofLinger - time.Second)
		check("just closed", true, 7)
		b.pass(2 * time.Second)
		check("long closed", false, 7)
		b.pass(leakyLinger)
		check("forgotten", false)
	})
}
