package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func (k *fakeKernel) isWatching() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watching
}

// Dropped packets are looked at as long as a connect waits, and a while longer.
func TestDropsAreWatchedWhileConnectsWait(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Minute)
		if n := len(b.k.called("WatchSYN")); n != 0 {
			t.Fatalf("looked at %d times although nobody connects", n)
		}
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), task(7))
		b.pass(3 * tick)
		if !b.k.isWatching() {
			t.Fatal("not looked at before the first retransmission, a second after the SYN")
		}
		b.expect(3*time.Second, "open no_reply")
		b.k.move(1, flow.StateEstablished, 0)
		b.expect(inTime, "resolved established")
		if !b.k.isWatching() {
			t.Error("not looked at any more at once")
		}
		b.pass(dropsLinger + 2*tick)
		if b.k.isWatching() {
			t.Error("looked at although nobody connects any more")
		}
		if n := len(b.k.called("WatchSYN")); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

// Connects that only pass, however many, are no reason to look.
func TestDropsAreNotWatchedForConnectsThatPass(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		for i := range uint64(20) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), task(7))
			b.pass(tick)
			b.k.move(i+1, flow.StateEstablished, 0)
			b.pass(tick)
		}
		if n := len(b.k.called("WatchSYN")); n != 0 {
			t.Errorf("looked at %d times", n)
		}
	})
}

// Without it findings come all the same.
func TestDropsThatCannotBeWatched(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.fail["WatchSYN"] = errors.New("refused")
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), task(7))
		b.expect(4*time.Second, "open no_reply")
		b.k.move(1, flow.StateClose, 0)
		b.expect(inTime, "resolved canceled")
	})
}

func TestReasonOfADrop(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		s := fakeSock(1, 1, flow.StateSynSent)
		s.SYN.Drop = &flow.Drop{Reason: "NETFILTER_DROP", Hook: "output"}
		b.k.enter(s, task(7))
		// The second reading comes between two retransmissions.
		b.k.meanwhile("Holders", func() { b.k.change(1, func(s *flow.Sock) { s.SYN = flow.SYN{DropPast: true} }) })
		f := b.expect(4*time.Second, "open dropped_locally")[0]
		if d := f.Sock.SYN.Drop; d == nil || d.Reason != "NETFILTER_DROP" {
			t.Errorf("told as %+v", d)
		}
	})
}

func TestFullListener(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		s := fakeSock(1, 1, flow.StateSynSent)
		b.k.enter(s, task(7))
		l := fakeSock(2, 2, flow.StateListen)
		l.Local, l.NetNS = netip.MustParseAddrPort("0.0.0.0:443"), s.NetNS+1
		b.k.exist(l, time.Hour)
		b.k.hold(2, task(9), 3)
		b.k.mu.Lock()
		b.k.held[0].AcceptQueue, b.k.held[0].AcceptLimit = 2, 1
		b.k.addresses = map[flow.Key][]netip.Addr{l.Key: {s.Peer.Addr()}}
		b.k.mu.Unlock()
		f := b.expect(4*time.Second, "open listener_overflow")[0]
		if f.Listener == nil || f.Listener.Process.PID != 9 || f.Listener.Queue != 2 {
			t.Fatalf("told as %+v", f.Listener)
		}
		// Looked at again with each update.
		b.k.mu.Lock()
		b.k.held[0].AcceptQueue = 1
		b.k.mu.Unlock()
		if f := b.expect(4*time.Second, "update no_reply")[0]; f.Listener != nil {
			t.Errorf("told as %+v", f.Listener)
		}
		b.k.move(1, flow.StateEstablished, 0)
		b.expect(inTime, "resolved established")
		b.atZero()
	})
}
