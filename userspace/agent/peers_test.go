package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// facing is the other end of s, in another namespace.
func facing(s *flow.Sock, addr, cookie uint64, state flow.State) flow.Sock {
	c := fakeSock(addr, cookie, state)
	c.Local, c.Peer, c.NetNS = s.Peer, s.Local, s.NetNS+1
	return c
}

// halfClosed makes a half-closed socket of process 10 and its other end.
func (b *bed) halfClosed() {
	s := fakeSock(1, 1, flow.StateFinWait2)
	b.k.enter(s, flow.Task{})
	b.k.exist(facing(&s, 2, 2, flow.StateEstablished), 0)
	b.k.hold(1, task(10), 3)
	b.k.hold(2, task(99), 7)
}

func TestOtherEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.halfClosed()
		b.pass(30 * time.Second)
		f := b.expect(inTime, "open half_closed")[0]
		if f.Peer == nil || f.Peer.State != flow.StateEstablished || f.Peer.Owner.Process.PID != 99 || f.Peer.Owner.Process.FD != 7 {
			t.Fatalf("other end %+v", f.Peer)
		}
		if want := "the other end is ESTABLISHED, held by p99 (pid 99, fd 7)"; !strings.Contains(f.Message, want) {
			t.Errorf("%q does not say %q", f.Message, want)
		}
		if f.Owner.Process.PID != 10 {
			t.Errorf("held by %d, want 10", f.Owner.Process.PID)
		}

		// An update looks again.
		b.k.change(2, func(s *flow.Sock) { s.State, s.HasSocket, s.Dead = flow.StateLastAck, false, true })
		f = b.expect(31*time.Second, "update half_closed")[0]
		if f.Peer == nil || f.Peer.State != flow.StateLastAck || !f.Peer.Orphan || f.Peer.Owner.Process.PID != 0 {
			t.Fatalf("other end %+v", f.Peer)
		}
		b.k.move(2, flow.StateClose, 0)
		f = b.expect(61*time.Second, "update half_closed")[0]
		if f.Peer != nil {
			t.Errorf("other end %+v, which is gone", f.Peer)
		}
		b.k.move(1, flow.StateClose, 0)
		if f = b.expect(inTime, "resolved closed")[0]; f.Peer != nil {
			t.Errorf("the end of the finding tells of another end: %+v", f.Peer)
		}
	})
}

// What is told is of the moment it is told, not of when the walk came by.
func TestOtherEndMovesMeanwhile(t *testing.T) {
	recycle := func(b *bed) {
		other := fakeSock(2, 3, flow.StateEstablished) // the address serves another one
		b.k.exist(other, 0)
	}
	for _, tt := range []struct {
		name   string
		change func(*bed)
		want   flow.State // 0: nothing is said
		pid    uint32
	}{
		{"state", func(b *bed) { b.k.change(2, func(s *flow.Sock) { s.State = flow.StateCloseWait }) }, flow.StateCloseWait, 99},
		{"closed", func(b *bed) { b.k.change(2, func(s *flow.Sock) { s.HasSocket, s.Dead = false, true }) }, flow.StateEstablished, 0},
		{"gone", func(b *bed) { b.k.move(2, flow.StateClose, 0) }, 0, 0},
		{"another's", recycle, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.start()
				b.halfClosed()
				b.pass(29 * time.Second)
				b.k.meanwhile("Holders", func() { b.k.meanwhile("Holders", nil); tt.change(b) })
				f := b.expect(2*time.Second, "open half_closed")[0]
				switch {
				case tt.want == 0 && f.Peer != nil:
					t.Errorf("other end %+v, want none", f.Peer)
				case tt.want != 0 && (f.Peer == nil || f.Peer.State != tt.want || f.Peer.Owner.Process.PID != tt.pid):
					t.Errorf("other end %+v, want %v of %d", f.Peer, tt.want, tt.pid)
				}
			})
		})
	}
}

// One walk serves all that is said at once, and nothing that connects asks for one.
func TestOneWalkForManyEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.expect(4*time.Second, "open no_reply")
		if n := len(b.k.called("Facing")); n != 0 {
			t.Errorf("%d walks for the other end of a connect", n)
		}
		for i := range uint64(50) {
			s := fakeSock(100+i, 100+i, flow.StateCloseWait)
			b.k.enter(s, flow.Task{})
			b.k.exist(facing(&s, 200+i, 200+i, flow.StateEstablished), 0)
		}
		b.pass(closeAge + inTime)
		with := 0
		for _, f := range b.out.take() {
			if f.Kind == finding.CloseWaitSilent && f.Peer != nil {
				with++
			}
		}
		if n := len(b.k.called("Facing")); with != 50 || n != 1 {
			t.Errorf("%d other ends from %d walks, want 50 from one", with, n)
		}
	})
}

// Walks are spaced by what they cost. A cheap one is waited for; without a dear
// one findings come out in time, and have their other end later.
func TestWalksForEndsAreBounded(t *testing.T) {
	for _, tt := range []struct {
		cost time.Duration
		all  bool
	}{{2 * time.Millisecond, true}, {40 * time.Millisecond, false}} {
		inBubble(t, func(t *testing.T, b *bed) {
			b.k.meanwhile("Facing", func() { time.Sleep(tt.cost) })
			b.start()
			for i := range uint64(100) {
				s := fakeSock(1000+i, 1000+i, flow.StateCloseWait)
				b.k.enter(s, flow.Task{})
				b.k.exist(facing(&s, 2000+i, 2000+i, flow.StateEstablished), 0)
				b.pass(20 * time.Millisecond)
			}
			b.pass(closeAge + inTime)
			opened, with := 0, 0
			for _, f := range b.out.take() {
				if f.Kind != finding.CloseWaitSilent || f.Status != finding.Open {
					continue
				}
				opened++
				if f.Peer != nil {
					with++
				}
				if f.Duration > closeAge+inTime {
					t.Errorf("walks of %v: said after %v", tt.cost, f.Duration)
				}
			}
			walks := b.k.called("Facing")
			if opened != 100 || (with == opened) != tt.all || with == 0 {
				t.Errorf("walks of %v: %d findings, %d with their other end", tt.cost, opened, with)
			}
			if span, spent := walks[len(walks)-1]-walks[0], time.Duration(len(walks))*tt.cost; peerShare*(spent-2*tt.cost) > span+peerCredit {
				t.Errorf("%d walks of %v in %v", len(walks), tt.cost, span)
			}
			for i := 1; i < len(walks); i++ {
				if gap := walks[i] - walks[i-1]; gap < min(peerShare*tt.cost, peerPatience) {
					t.Errorf("walks of %v are %v apart", tt.cost, gap)
				}
			}
		})
	}
}

// Without its table the kernel side is of no use: the agent ends with its words.
func TestOtherEndFails(t *testing.T) {
	broken := errors.New("broken")
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.fail["Facing"] = broken
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.pass(closeAge + inTime)
		b.ended = true
		if err := <-b.done; !errors.Is(err, broken) {
			t.Errorf("ended with %v, want %v", err, broken)
		}
	})
}
