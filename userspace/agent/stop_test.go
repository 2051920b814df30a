package agent

import (
	"fmt"
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

// Nothing is said on a reading that is older than a stop. Each socket is stuck
// when the agent decides, and moves on while the agent is stopped.
func TestStoppedBeforeTheWord(t *testing.T) {
	minisocket := fakeSock(1, 1, flow.StateFinWait2)
	minisocket.TimeWait, minisocket.Dead, minisocket.HasSocket, minisocket.Expires = true, true, false, time.Minute
	reused := fakeSock(1, 9, flow.StateSynSent)
	ends := map[string]func(k *fakeKernel){
		"went on to TIME_WAIT": func(k *fakeKernel) { k.change(1, func(s *flow.Sock) { s.State = flow.StateTimeWait }) },
		"was freed":            func(k *fakeKernel) { k.free(1) },
		"gave its address on":  func(k *fakeKernel) { k.free(1); k.exist(reused, 0) },
		// Its first life was healthy and is over, the next one stands in FIN_WAIT2 for a moment.
		"gave its address to its like": func(k *fakeKernel) {
			next := minisocket
			next.ID = fakeSock(1, 9, flow.StateFinWait2).ID
			k.free(1)
			k.exist(next, 0)
		},
	}
	for name, end := range ends {
		// The reading of the verdict is the first, the one of the word the second.
		for reading := 1; reading <= 2; reading++ {
			t.Run(fmt.Sprintf("%s after reading %d", name, reading), func(t *testing.T) {
				inBubble(t, func(t *testing.T, b *bed) {
					b.start()
					b.k.enter(minisocket, flow.Task{})
					b.pass(closeAge - time.Second)
					b.k.afterRead(reading, func() {
						time.Sleep(10 * time.Second)
						end(b.k)
					})
					b.pass(15 * time.Second)
					for _, f := range b.out.take() {
						if f.Sock.Cookie == 1 {
							t.Errorf("said %s: %s", words(&f), f.Message)
						}
					}
				})
			})
		}
	}
}

// A stop between two words: the rest is read again.
func TestStoppedBetweenWords(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		for i := range uint64(3) {
			b.k.enter(fakeSock(1+i, 1+i, flow.StateSynSent), flow.Task{})
		}
		b.out.stop(func() {
			time.Sleep(10 * time.Second)
			for i := range uint64(3) {
				b.k.move(1+i, flow.StateEstablished, 0)
			}
		})
		b.pass(20 * time.Second)
		// The one that was being written was true, and is resolved.
		b.said("open no_reply", "resolved established")
		b.atZero()
	})
}
