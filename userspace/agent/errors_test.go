package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Run ends with what the kernel side says, and with what it was doing.
func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, method := range []string{"Age", "Events", "Read", "Walk", "Holders", "Stats"} {
		t.Run(method, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.start()
				b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
				b.pass(time.Second)
				b.k.mu.Lock()
				b.k.fail[method] = fmt.Errorf("doing it: %w", broken)
				b.k.mu.Unlock()
				b.k.lose(func(l *flow.Losses) { l.RingFull++ })
				b.pass(time.Minute)
				b.ended = true
				select {
				case err := <-b.done:
					if !errors.Is(err, broken) {
						t.Errorf("ended with %v, want %v", err, broken)
					}
				default:
					t.Error("goes on")
					b.cancel()
					<-b.done
				}
			})
		})
	}
}

func TestErrorsAtTheStart(t *testing.T) {
	broken := errors.New("broken")
	for _, method := range []string{"Walk", "Read", "Ready"} {
		inBubble(t, func(t *testing.T, b *bed) {
			b.k.exist(fakeSock(1, 1, flow.StateSynSent), 0)
			b.k.fail[method] = broken
			if method == "Ready" {
				b.cfg.Ready = func() error { return broken }
			}
			b.start()
			b.ended = true
			if err := <-b.done; !errors.Is(err, broken) {
				t.Errorf("%s: ended with %v, want %v", method, err, broken)
			}
		})
	}
}

// Without a cookie a finding is still true.
func TestCookieFails(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.fail["Cookie"] = errors.New("broken")
		b.start()
		s := fakeSock(1, 0, flow.StateSynSent)
		b.k.enter(s, flow.Task{})
		b.expect(4*time.Second, "open no_reply")
		if len(b.k.called("Cookie")) == 0 {
			t.Error("nobody asked for a cookie")
		}
	})
}
