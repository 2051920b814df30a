package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// slowAsker ends so long after it was told to; after that it says so.
type slowAsker struct {
	after time.Duration
	ended atomic.Bool
}

func (s *slowAsker) About(*finding.Finding) *finding.Goroutines { return nil }

func (s *slowAsker) Run(ctx context.Context) {
	<-ctx.Done()
	time.Sleep(s.after)
	s.ended.Store(true)
}

// What runs beside the loop has ended when Run returns, unless it takes too long.
func TestJoins(t *testing.T) {
	for after, joined := range map[time.Duration]bool{joinMost / 2: true, time.Hour: false} {
		inBubble(t, func(t *testing.T, b *bed) {
			asker := &slowAsker{after: after}
			b.cfg.Goroutines = asker
			b.start()
			b.pass(time.Second)
			began := time.Now()
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != min(after, joinMost) || asker.ended.Load() != joined {
				t.Errorf("ends after %s: joined %v in %s", after, asker.ended.Load(), took)
			}
			b.pass(time.Hour) // nothing is left in the bubble
		})
	}
}

// TestJoinsAfterAnError: also if Run ends with an error.
func TestJoinsAfterAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		asker := &slowAsker{after: joinMost / 2}
		b.cfg.Goroutines = asker
		b.cfg.Ready = func() error { return context.DeadlineExceeded }
		b.start()
		b.ended = true
		if err := <-b.done; err == nil || !asker.ended.Load() {
			t.Errorf("%v, ended %v", err, asker.ended.Load())
		}
	})
}
