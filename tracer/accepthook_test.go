package tracer

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// fakeHooks counts what is attached.
type fakeHooks struct {
	attached, refuse int
	// said counts the failures that were reported.
	said int
}

func (h *fakeHooks) Close() error { h.attached--; return nil }

func (h *fakeHooks) attach() (io.Closer, error) {
	if h.refuse > 0 {
		h.refuse--
		return nil, errors.New("refused")
	}
	h.attached++
	return h, nil
}

// paced is an acceptHook whose moves are awaited.
func paced(h *acceptHook, now time.Duration, crowded, needed bool) {
	h.pace(now, crowded, needed)
	if h.moving != nil {
		h.moved(<-h.moving)
	}
}

func begun(t *testing.T, h *fakeHooks) *acceptHook {
	t.Helper()
	hook := &acceptHook{attach: h.attach, refused: func(error) { h.said++ }}
	if err := hook.begin(); err != nil {
		t.Fatal(err)
	}
	return hook
}

func TestAcceptHookPace(t *testing.T) {
	h := &fakeHooks{}
	hook := begun(t, h)
	const tick = 250 * time.Millisecond
	used := func(from, to time.Duration, crowded, needed bool) (n int) {
		for now := from; now < to; now += tick {
			paced(hook, now, crowded, needed)
			n += h.attached
		}
		return n
	}
	if n := used(0, 10*time.Second, false, false); n != 40 {
		t.Errorf("looked at accept in %d of 40 ticks of a quiet host", n)
	}
	// Rare samples: an eighth of the time.
	n := used(10*time.Second, 10*time.Second+10*acceptRound, true, false)
	if want := int(10 * acceptOpen / tick); n < want-8 || n > want+8 {
		t.Errorf("looked at accept in %d ticks of ten rounds on a busy host, want about %d", n, want)
	}
	// A process leaks: at once, and as long as it is known.
	at := 10*time.Second + 10*acceptRound
	if n := used(at, at+2*acceptRound, true, true); n != int(2*acceptRound/tick) {
		t.Errorf("looked at accept in %d ticks while all stacks of a process are wanted", n)
	}
	at += 2 * acceptRound
	used(at, at+acceptRound, true, false)
	// Quiet again: that shows only while accept is looked at.
	used(at+acceptRound, at+2*acceptRound, false, false)
	if n := used(at+2*acceptRound, at+3*acceptRound, false, false); n != int(acceptRound/tick) {
		t.Errorf("looked at accept in %d ticks of the round after it became quiet", n)
	}
	if err := hook.end(); err != nil || h.attached != 0 {
		t.Errorf("%d are left: %v", h.attached, err)
	}
}

// What fails once is tried again, and then not given up any more.
func TestAcceptHookStays(t *testing.T) {
	h := &fakeHooks{}
	hook := begun(t, h)
	paced(hook, 0, true, false)
	if h.attached != 0 {
		t.Fatal("still attached on a crowded host")
	}
	h.refuse = 2
	for range 3 {
		paced(hook, time.Second, true, true)
	}
	if h.attached != 1 || h.said != 1 {
		t.Errorf("%d attached, %d of two failures in a row said, want 1 and the first", h.attached, h.said)
	}
	for now := time.Second; now < 2*acceptRound; now += time.Second {
		paced(hook, now, true, false)
		if h.attached != 1 {
			t.Fatalf("after %s %d are attached", now, h.attached)
		}
	}
}

// A detach under way is waited for.
func TestAcceptHookEnds(t *testing.T) {
	h := &fakeHooks{}
	hook := begun(t, h)
	hook.pace(0, true, false)
	if err := hook.end(); err != nil || h.attached != 0 {
		t.Errorf("%d are left: %v", h.attached, err)
	}
}

// The real one: accepted sockets have a stack while it is attached, none while it is not,
// and have one again after that.
func TestAcceptHookOnSockets(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	if tr.stacks.accepts != nil {
		t.Skipf("accept cannot be seen: %v", tr.stacks.accepts)
	}
	newNamespace(t)
	l := listen(t, ipv4, 16)
	known := func() bool {
		client := newSocket(t, ipv4)
		openHere(client, l)
		server := acceptHere(l)
		s, err := tr.SocketStacks(find(t, tr, server.cookie).ID)
		if err != nil {
			t.Fatal(err)
		}
		return s.Opener.Taken()
	}
	hook := &tr.stacks.accept
	for _, attach := range []bool{true, false, true, false} {
		paced(hook, 0, !attach, attach)
		if attach != (hook.hook != nil) || hook.missing {
			t.Fatalf("attached %v, want %v", hook.hook != nil, attach)
		}
		if got := known(); got != attach {
			t.Errorf("attached %v: the accepted socket has a stack: %v", attach, got)
		}
	}
}
