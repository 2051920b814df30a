package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// On a host where every reading takes longer than it stays fresh, thousands of
// findings are told in the time of some dozens of readings, not of one each.
func TestThousandsOnASlowHost(t *testing.T) {
	const many = 10_000
	inBubble(t, func(t *testing.T, b *bed) {
		for i := range uint64(many) {
			b.k.exist(fakeSock(i+1, i+1, flow.StateCloseWait), time.Hour)
		}
		b.start()
		b.pass(time.Second)
		b.out.take()
		b.k.meanwhile("Read", func() { time.Sleep(stale + 50*time.Millisecond) })
		before := len(b.k.called("Read"))
		b.pass(closeAge + time.Minute)
		if n := len(b.k.called("Read")) - before; n > 20*many/confirmBatch {
			t.Errorf("%d readings", n)
		}
		told := 0
		for _, f := range b.out.take() {
			if f.Status == finding.Update {
				told++
			}
		}
		if told < many {
			t.Errorf("%d updates of %d", told, many)
		}
		b.k.meanwhile("Read", nil)
	})
}

// What is said at once is bounded, and all of it is said.
func TestManyAreSaidInParts(t *testing.T) {
	const many = 3*speakMost + 5
	inBubble(t, func(t *testing.T, b *bed) {
		for i := range uint64(many) {
			b.k.exist(fakeSock(i+1, i+1, flow.StateCloseWait), time.Hour)
		}
		var parts atomic.Int32
		b.k.meanwhile("Holders", func() { parts.Add(1) }) // they are looked for once a part
		b.start()
		b.pass(5 * time.Second)
		if n := len(b.out.take()); n != many {
			t.Errorf("%d of %d are said", n, many)
		}
		if n := parts.Load(); n < 4 {
			t.Errorf("%d were said in %d parts", many, n)
		}
	})
}

// Once after the start, and once after each storm when it is over.
func TestCalm(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		var calms atomic.Int32
		b.cfg.Calm = func() { calms.Add(1) }
		b.start()
		b.pass(calmAfter + 2*tick)
		if n := calms.Load(); n != 1 {
			t.Fatalf("told %d times after the start, want once", n)
		}
		addr := uint64(0)
		enter := func(n uint64) {
			for range n {
				addr++
				b.k.enter(fakeSock(addr, addr, flow.StateCloseWait), flow.Task{})
			}
		}
		enter(keepMax)
		b.pass(closeAge + calmAfter + 2*tick)
		if calms.Load() != 1 {
			t.Errorf("%d findings are called a storm", keepMax)
		}
		for range 3 {
			enter(2 * keepMax)
			b.pass(calmAfter / 2)
		}
		b.pass(closeAge - calmAfter/2)
		if n := calms.Load(); n != 1 {
			t.Errorf("told %d times in the middle of a storm", n)
		}
		b.pass(2 * calmAfter)
		if n := calms.Load(); n != 2 {
			t.Errorf("told %d times after the storm, want once", n-1)
		}
		b.out.take()
	})
}
