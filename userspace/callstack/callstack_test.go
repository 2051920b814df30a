package callstack

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

// fake answers with its frames or error, after a while.
type fake struct {
	frames []finding.Frame
	err    error
	takes  time.Duration
	asked  []stack.Process
}

func (f *fake) Resolve(ctx context.Context, p stack.Process, _ []uint64) ([]finding.Frame, error) {
	f.asked = append(f.asked, p)
	select {
	case <-time.After(f.takes):
		return f.frames, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var (
	own      = finding.Frame{Function: "main.serve", File: "serve.go", Line: 7}
	plumbing = finding.Frame{Function: "net.(*conn).Read", Plumbing: true}
	nameless = finding.Frame{Module: "api", Offset: 255}
	nowhere  = finding.Frame{Offset: 0x7fff0000}
)

// inBubble runs f with a book whose symbols answer as fake does.
func inBubble(t *testing.T, symbols *fake, f func(b *Book)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := New(symbols)
		ctx, cancel := context.WithCancel(t.Context())
		go b.Run(ctx)
		f(b)
		cancel()
		synctest.Wait()
	})
}

func TestWhatBecomesOfAStack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fake    fake
		frames  int
		missing string
		again   bool
	}{
		{name: "functions", fake: fake{frames: []finding.Frame{plumbing, own, plumbing}}, frames: 3},
		{name: "no symbols", fake: fake{frames: []finding.Frame{plumbing, nameless}}, frames: 2},
		{name: "no frame pointers", fake: fake{frames: []finding.Frame{plumbing, nowhere, own}}, frames: 1, missing: finding.MissingNoFramePointers},
		{name: "no code at all", fake: fake{frames: []finding.Frame{nowhere}}, missing: finding.MissingNoFramePointers},
		{name: "exited", fake: fake{err: stack.ErrGone}, missing: finding.MissingProcessGone},
		{name: "reused", fake: fake{err: fmt.Errorf("x: %w", stack.ErrReused)}, missing: finding.MissingProcessGone},
		{name: "exec", fake: fake{err: stack.ErrExec}, missing: finding.MissingProcessGone},
		{name: "busy", fake: fake{err: stack.ErrBusy}, missing: finding.MissingUnreadable, again: true},
		{name: "late", fake: fake{takes: time.Hour}, missing: finding.MissingUnreadable, again: true},
		{name: "denied", fake: fake{err: errors.New("permission denied")}, missing: finding.MissingUnreadable},
		{name: "nothing", missing: finding.MissingUnreadable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, &tt.fake, func(b *Book) {
				r := b.Ask(7, flow.UserStack{PID: 3, Start: 4, Base: 5, Addrs: []uint64{1}})
				if b.Get(7) != r {
					t.Fatal("what was asked for is not known")
				}
				<-r.Done()
				if len(r.Frames) != tt.frames || r.Missing != tt.missing {
					t.Errorf("%d frames, missing %q; want %d, %q", len(r.Frames), r.Missing, tt.frames, tt.missing)
				}
				if got := b.Get(7); (got == nil) != tt.again {
					t.Errorf("to be asked for again: %v, want %v", got == nil, tt.again)
				}
				if want := (stack.Process{PID: 3, Start: 4, Stack: 5}); tt.fake.asked[0] != want {
					t.Errorf("asked for %+v, want %+v", tt.fake.asked[0], want)
				}
				if first, second := r.As(finding.StackAccept), r.As(finding.StackAccept); first != second || r.As(finding.StackConnect).Of != finding.StackConnect {
					t.Error("a stack is not shared by those who say it alike")
				}
			})
		})
	}
}

// Memory is bounded, what is asked for stays, and who asks never waits.
func TestBookIsBounded(t *testing.T) {
	inBubble(t, &fake{frames: []finding.Frame{own}}, func(b *Book) {
		kept := b.Know(1, finding.MissingEvicted)
		for id := flow.StackID(2); id < 5*keepMost; id++ {
			b.Know(id, finding.MissingEvicted)
			if b.Get(1) != kept {
				t.Fatalf("a stack that is asked for is forgotten after %d others", id)
			}
			if n := len(b.young) + len(b.older); n > 2*keepMost {
				t.Fatalf("%d stacks kept", n)
			}
		}
		if b.Get(2) != nil {
			t.Error("a stack that nobody asked for is kept")
		}
	})
	b := New(&fake{}) // nobody looks up
	for id := range flow.StackID(queueMost) {
		if b.Ask(id, flow.UserStack{}) == nil {
			t.Fatalf("no room for %d", id)
		}
	}
	if b.Ask(queueMost, flow.UserStack{}) != nil || b.Get(queueMost) != nil {
		t.Error("a full queue takes more")
	}
}
