package agent

import (
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
		b.start()
		b.pass(5 * time.Second)
		if n := len(b.out.take()); n != many {
			t.Errorf("%d of %d are said", n, many)
		}
		if n := cap(b.agent.pending); n > 2*speakMost {
			t.Errorf("%d were said at once", n)
		}
	})
}
