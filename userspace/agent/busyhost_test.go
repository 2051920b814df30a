package agent

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// On a busy host walks take long and cost no more: the agent waits for its turn,
// and need not wait again because of that.
func TestWaitingForACPUIsNoCost(t *testing.T) {
	const walk = 2 * time.Second // of waiting, each
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.CPUTime = func() time.Duration { return time.Second }
		b.start()
		b.k.meanwhile("Holders", func() { time.Sleep(walk) })
		b.k.meanwhile("Walk", func() { time.Sleep(walk) })
		for i := range uint64(5) {
			b.k.enter(fakeSock(1+i, 1+i, flow.StateSynSent), flow.Task{})
			b.expect(3*time.Second+walk+inTime, "open no_reply")
			b.k.move(1+i, flow.StateEstablished, 0)
			b.expect(inTime, "resolved established")
		}
		b.k.lose(func(l *flow.Losses) { l.RingFull++ })
		b.pass(walk + inTime)
		b.k.lose(func(l *flow.Losses) { l.RingFull++ })
		b.pass(2*walk + inTime)
		if n := lossCount(b.out.takeLosses())["ring_buffer"]; n != 2 {
			t.Errorf("%d losses were followed by a walk, want 2", n)
		}
	})
}
