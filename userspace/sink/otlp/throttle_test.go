package otlp

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// TestRetryAfter: what a collector asks for is read, within a bound.
func TestRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		0: 0, -time.Second: 0, 7 * time.Second: 7 * time.Second, 24 * time.Hour: maxRetryAfter,
	} {
		bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
			k.busy = []time.Duration{asked}
			all, _ := lines()
			n, err := l.Write(t.Context(), all)
			busy, _ := errors.AsType[*sink.BusyError](err)
			switch {
			case err == nil || n != 0:
				t.Errorf("wrote %d bytes, %v", n, err)
			case want == 0 && busy != nil:
				t.Errorf("asked for %v and got %v", asked, busy.After)
			case want > 0 && (busy == nil || busy.After != want):
				t.Errorf("asked for %v and got %v", asked, err)
			}
		})
	}
}

// TestBusyCollectorIsLeftAlone: a sink waits as long as it is asked to, and loses nothing.
func TestBusyCollectorIsLeftAlone(t *testing.T) {
	bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
		const pause = time.Second // the least that Retry-After can say
		k.busy = []time.Duration{pause, pause}
		s := sink.New(keepOpen{l}, sink.Options{FindingBatch: LogsBatch})
		_, each := lines()
		for _, line := range each {
			s.Put(sink.Finding, line)
		}
		for deadline := time.Now().Add(time.Minute); s.Stats().Written < uint64(len(each)); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", s.Stats())
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.asked) < 3 {
			t.Fatalf("%d requests", len(k.asked))
		}
		for i := range 2 {
			if gap := k.asked[i+1].Sub(k.asked[i]); gap < pause {
				t.Errorf("asked again after %v, want %v", gap, pause)
			}
		}
	})
}

// keepOpen leaves closing to the one who opened.
type keepOpen struct{ *Logs }

func (keepOpen) Close() error { return nil }

// TestBusyAtTheEnd: a collector that asks for minutes does not hold the end.
func TestBusyAtTheEnd(t *testing.T) {
	bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
		k.busy = []time.Duration{time.Hour}
		s := sink.New(keepOpen{l}, sink.Options{})
		_, each := lines()
		s.Put(sink.Finding, each[0])
		for deadline := time.Now().Add(time.Minute); s.Stats().Errors == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", s.Stats())
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil || s.Stats().Written != 1 {
			t.Errorf("%v, %+v", err, s.Stats())
		}
	})
}
