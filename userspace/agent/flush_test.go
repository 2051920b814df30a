package agent

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// writing is a socket whose written data is acknowledged after a time; done ends it.
func writing(b *bed, addr uint64, after time.Duration, done <-chan struct{}) {
	s := fakeSock(addr, addr, flow.StateEstablished)
	s.Busy, s.Limits.Probing = -1, -1
	b.k.exist(s, 0)
	go func() {
		for {
			b.k.mu.Lock()
			s := b.k.socks[addr]
			s.SndUna = s.WriteSeq
			s.WriteSeq += 1000
			s.SndNxt = s.WriteSeq
			b.k.socks[addr], b.k.entered[addr] = s, b.k.boot()
			b.k.mu.Unlock()
			select {
			case <-done:
				return
			case <-time.After(after):
			}
		}
	}()
}

// What written data takes to be acknowledged is measured from outside, into the
// bucket it belongs to, and a service that takes too long is told of once.
func TestFlushDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Queues = writequeue.Limits{Flush: 50 * time.Millisecond}
		b.start()
		done := make(chan struct{})
		defer close(done)
		writing(b, 1, 180*time.Millisecond, done)
		b.pass(2 * time.Minute)
		b.out.mu.Lock()
		said := b.out.queues
		b.out.mu.Unlock()
		if len(said) != 1 || said[0].Limit != finding.LimitFlush || said[0].Status != finding.Open || said[0].Message == "" {
			t.Fatalf("said %+v", said)
		}
		if p50 := said[0].P50; p50 < 150*time.Millisecond || p50 > 250*time.Millisecond {
			t.Errorf("median %v", p50)
		}
		b.meter.mu.Lock()
		defer b.meter.mu.Unlock()
		total := 0
		for i, n := range b.meter.flushed {
			total += n
			if n > 0 && i != 8 {
				t.Errorf("%d observations up to %v", n, writequeue.Bounds[i])
			}
		}
		if total < 100 {
			t.Errorf("%d observations", total)
		}
	})
}

// Where nothing is queued nothing is read.
func TestFlushCostsNothingWhereNothingWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		for i := range uint64(10) {
			b.k.exist(fakeSock(i+1, i+1, flow.StateEstablished), time.Hour)
		}
		b.start()
		b.pass(time.Minute)
		if n := len(b.k.called("Read")); n > 0 {
			t.Errorf("%d readings", n)
		}
	})
}

func TestWriteQueueWarning(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Rules.Base[finding.EstablishedStalled] = time.Hour
		b.cfg.Queues = writequeue.Limits{Undrained: 40 * time.Second, Pending: 1 << 20}
		s := fakeSock(1, 1, flow.StateEstablished)
		s.WriteSeq, s.Busy, s.Limits.Probing = 1<<20+1, -1, -1
		b.k.exist(s, 0)
		b.start()
		b.pass(3 * time.Minute)
		b.k.change(1, func(s *flow.Sock) { s.SndUna = s.WriteSeq })
		b.pass(3 * time.Minute)
		b.out.mu.Lock()
		defer b.out.mu.Unlock()
		var said []string
		for _, w := range b.out.queues {
			said = append(said, w.Status.String()+" "+w.Limit.String())
		}
		want := []string{"open pending", "open undrained", "resolved pending", "resolved undrained"}
		if len(said) != len(want) {
			t.Fatalf("said %q, want %q", said, want)
		}
		for i := range want {
			if said[i] != want[i] {
				t.Fatalf("said %q, want %q", said, want)
			}
		}
	})
}
