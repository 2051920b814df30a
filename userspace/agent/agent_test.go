package agent

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// What is stuck already is found by the snapshot, with a bound on its age.
func TestSnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.exist(fakeSock(1, 1, flow.StateCloseWait), time.Hour)
		b.k.exist(fakeSock(2, 2, flow.StateCloseWait), 20*time.Second)
		b.k.exist(fakeSock(3, 3, flow.StateSynSent), time.Second)
		b.k.exist(fakeSock(4, 4, flow.StateEstablished), time.Hour)
		ready := false
		b.cfg.Ready = func() error {
			ready = len(b.k.called("Walk")) == 1
			return nil
		}
		b.start()
		if !ready {
			t.Error("ready before the snapshot")
		}
		f := b.said("open eof_ignored")[0]
		if f.SinceExact || f.Duration < uptime-time.Second || f.Sock.Cookie != 1 {
			t.Errorf("since %v (exact %v), of cookie %d", f.Duration, f.SinceExact, f.Sock.Cookie)
		}
		b.expect(2*time.Second - time.Millisecond)
		b.expect(inTime, "open no_reply")
		b.expect(7*time.Second, "update no_reply")
		b.expect(time.Second, "open eof_ignored")
		// They are tracked from then on: their end is told by events.
		b.k.move(2, flow.StateClose, int32(unix.EPIPE))
		b.expect(inTime, "resolved reset")
		if len(b.meter.delays) != 0 {
			t.Error("the delay of a finding whose beginning is not known was measured")
		}
	})
}

// A finding comes out between its threshold and a tick and 100 ms later, at
// whatever moment the socket enters its state.
func TestInTime(t *testing.T) {
	for _, state := range []flow.State{flow.StateSynSent, flow.StateCloseWait, flow.StateFinWait2, flow.StateLastAck} {
		t.Run(state.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.start()
				threshold := thresholds[finding.KindOf(state)]
				const step = 17 * time.Millisecond
				sockets := uint64(0)
				for range 2 * tick / step {
					b.pass(step)
					sockets++
					b.k.enter(fakeSock(sockets, sockets, state), task(9))
				}
				b.pass(threshold + inTime)
				findings := b.out.take()
				if uint64(len(findings)) != sockets {
					t.Fatalf("%d findings, want %d", len(findings), sockets)
				}
				for _, f := range findings {
					if late := f.Duration - threshold; f.Status != finding.Open || late < 0 || late > inTime {
						t.Errorf("%s %v after the threshold", words(&f), late)
					}
					if !f.SinceExact || f.Time.Sub(f.Since) != f.Duration {
						t.Errorf("since %v (exact %v), for %v", f.Time.Sub(f.Since), f.SinceExact, f.Duration)
					}
				}
				for _, d := range b.meter.delays {
					if d < 0 || d > inTime {
						t.Errorf("a delay of %v was measured", d)
					}
				}
				if n := len(b.meter.delays); uint64(n) != sockets {
					t.Errorf("%d delays were measured, want %d", n, sockets)
				}
			})
		})
	}
}

// What passes quickly never comes into a record.
func TestHealthy(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		for i := range uint64(2000) {
			b.k.enter(fakeSock(i%64+1, i+1, flow.StateSynSent), task(9))
			b.pass(11 * time.Millisecond)
			b.k.move(i%64+1, flow.StateEstablished, 0)
			b.k.move(i%64+1, flow.StateCloseWait, 0)
			b.pass(300 * time.Millisecond)
			b.k.move(i%64+1, flow.StateLastAck, 0)
			b.k.move(i%64+1, flow.StateClose, 0)
		}
		b.expect(time.Minute)
		if due, ok := b.agent.detector.Next(); ok {
			t.Errorf("a socket is watched, due at %s; none is there", due)
		}
		if n := len(b.k.called("Holders")); n != 0 {
			t.Errorf("holders were looked for %d times", n)
		}
	})
}

func TestPace(t *testing.T) {
	gaps := func(b *bed, span time.Duration) (low, high time.Duration) {
		before := len(b.k.called("Age"))
		b.pass(span)
		ages := b.k.called("Age")[before:]
		low = span
		for i := 1; i < len(ages); i++ {
			low, high = min(low, ages[i]-ages[i-1]), max(high, ages[i]-ages[i-1])
		}
		return low, high
	}
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		if low, high := gaps(b, 10*time.Second); low != tick || high != tick {
			t.Errorf("a tick took from %v to %v, want %v", low, high, tick)
		}
		b.k.setPace(50 * time.Millisecond)
		b.pass(tick)
		if low, high := gaps(b, 5*time.Second); low != 50*time.Millisecond || high != low {
			t.Errorf("where connections come fast a tick took from %v to %v", low, high)
		}
	})
}

// What is known when the agent is asked to end is written before it does.
func TestLastWords(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.expect(4*time.Second, "open no_reply")
		b.k.move(1, flow.StateEstablished, 0)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		b.said("resolved established")
		b.atZero()
	})
}

func TestEventsAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.pass(time.Second)
		b.k.mu.Lock()
		b.k.send(flow.Event{Kind: flow.EventRetransmit, ID: fakeSock(1, 1, 0).ID})
		b.k.send(flow.Event{Kind: flow.EventKindCount + 100, ID: fakeSock(1, 1, 0).ID})
		b.k.mu.Unlock()
		b.pass(time.Second)
		b.k.move(1, flow.StateEstablished, 0)
		b.pass(time.Second)
		for kind, n := range map[string]uint64{"promoted": 1, "retransmit": 1, "transition": 1} {
			if b.meter.events[kind] != n {
				t.Errorf("%d events %s, want %d", b.meter.events[kind], kind, n)
			}
		}
	})
}

// The kernel's counters only grow; one that could not be read is 0 for once.
func TestRetransmissionsAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		set := func(n uint64) {
			b.k.mu.Lock()
			b.k.stats.Retransmits[flow.RetransmitTLP] = n
			b.k.mu.Unlock()
			b.pass(time.Second)
		}
		set(3)
		set(0)
		set(5)
		b.k.mu.Lock()
		b.k.stats.Retransmits[flow.RetransmitFast] = 7
		b.k.mu.Unlock()
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if got := b.meter.resent; len(got) != 2 || got["tlp"] != 5 || got["fast"] != 7 {
			t.Errorf("counted %v, want 5 tlp and, at the end, 7 fast", got)
		}
	})
}

// Different beginnings, kinds, lives, boots and namespaces have different ids.
func TestIDs(t *testing.T) {
	id := fakeSock(1, 7, flow.StateCloseWait).ID
	base := newID("boot")(id, finding.CloseWaitSilent, time.Second)
	if again := newID("boot")(id, finding.CloseWaitSilent, time.Second); again != base {
		t.Errorf("the same finding is %s and %s", base, again)
	}
	other, minisocket, elsewhere, unknown := id, id, id, id
	other.Cookie, minisocket.Addr, elsewhere.NetNS, unknown.Cookie = 8, 2, 1, 0
	for name, got := range map[string]string{
		"another boot":      newID("boot2")(id, finding.CloseWaitSilent, time.Second),
		"another beginning": newID("boot")(id, finding.CloseWaitSilent, time.Second+1),
		"another kind":      newID("boot")(id, finding.ClosingStalled, time.Second),
		"another socket":    newID("boot")(other, finding.CloseWaitSilent, time.Second),
		"its minisocket":    newID("boot")(minisocket, finding.CloseWaitSilent, time.Second),
		"another namespace": newID("boot")(elsewhere, finding.CloseWaitSilent, time.Second),
		"no cookie":         newID("boot")(unknown, finding.CloseWaitSilent, time.Second),
	} {
		if got == base {
			t.Errorf("%s has the same id", name)
		}
	}
}

func TestStates(t *testing.T) {
	var none, onlyFinWait2, onlyClosing [finding.KindCount]time.Duration
	onlyFinWait2[finding.FinWait2Dangling] = 1
	onlyClosing[finding.ClosingStalled] = 1
	set := func(states ...flow.State) (set flow.StateSet) {
		for _, s := range states {
			set |= s.Bit()
		}
		return set
	}
	tests := []struct {
		threshold [finding.KindCount]time.Duration
		want      flow.StateSet
	}{
		{none, 0},
		{onlyFinWait2, set(flow.StateFinWait1, flow.StateFinWait2)},
		{onlyClosing, set(flow.StateFinWait1, flow.StateClosing, flow.StateLastAck)},
		{thresholds, set(flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck, flow.StateClosing)},
	}
	for _, tt := range tests {
		if got := States(tt.threshold); got != tt.want {
			t.Errorf("States(%v) = %b, want %b", tt.threshold, got, tt.want)
		}
	}
}
