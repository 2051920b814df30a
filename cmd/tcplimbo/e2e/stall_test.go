package e2e

import (
	"sync/atomic"
	"testing"
	"time"
)

// stalls measures how long the machine stands still for a process that wants
// to run: other tests, benchmarks and the hypervisor take their part, and what
// is late for that reason is nobody's fault.
type stalls struct{ worst atomic.Int64 }

func watchStalls(t *testing.T) *stalls {
	const step = 10 * time.Millisecond
	s, stop := &stalls{}, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			before := time.Now()
			select {
			case <-stop:
				return
			case <-time.After(step):
			}
			s.worst.Store(max(s.worst.Load(), int64(time.Since(before)-step)))
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		if w := s.longest(); t.Failed() && w > tick {
			t.Logf("the machine stood still for up to %s", w)
		}
	})
	return s
}

// longest returns the worst so far.
func (s *stalls) longest() time.Duration { return time.Duration(s.worst.Load()) }
