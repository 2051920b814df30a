package agent

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// A stop (SIGSTOP, a suspended machine) is not made up for by a burst of ticks.
func TestStopIsNotMadeUpFor(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Second)
		stop := func() {
			b.k.meanwhile("Age", nil)
			time.Sleep(10 * time.Second)
		}
		b.k.meanwhile("Age", stop)
		b.pass(20 * time.Second)
		// 21 s, of which 10 were slept away.
		if n := len(b.k.called("Age")); n > 48 {
			t.Errorf("%d ticks", n)
		}
	})
}

// Wherever the agent is stopped, what became stuck meanwhile is said soon
// after, and what becomes stuck later is in time again.
func TestStoppedAnywhere(t *testing.T) {
	for _, where := range []string{"Age", "Events", "Read", "Walk", "Holders", "Stats"} {
		t.Run(where, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.start()
				b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
				b.pass(closeAge - time.Second)
				b.k.meanwhile(where, func() {
					b.k.meanwhile(where, nil)
					time.Sleep(10 * time.Second)
				})
				// Something for each method to do.
				b.k.lose(func(l *flow.Losses) { l.RingFull++ })
				b.k.enter(fakeSock(2, 2, flow.StateSynSent), flow.Task{})
				b.pass(20 * time.Second)
				seen := map[uint64]bool{}
				for _, f := range b.out.take() {
					seen[f.Sock.Cookie] = true
				}
				if !seen[1] || !seen[2] {
					t.Errorf("said of %v, want both sockets", seen)
				}
				b.k.enter(fakeSock(3, 3, flow.StateSynSent), flow.Task{})
				b.pass(time.Second)
				b.k.setDeaf(true)
				b.k.enter(fakeSock(4, 4, flow.StateSynSent), flow.Task{})
				b.pass(time.Second)
				b.k.setDeaf(false)
				b.pass(2*time.Second + inTime)
				for _, f := range b.out.take() {
					seen[f.Sock.Cookie] = true
				}
				if !seen[3] || !seen[4] {
					t.Errorf("said of %v in time, want also 3, and 4 whose event was lost", seen)
				}
			})
		})
	}
}
