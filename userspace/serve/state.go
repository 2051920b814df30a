package serve

import (
	"fmt"
	"sync/atomic"
	"time"
)

// State is what /healthz and /readyz answer. The zero State is healthy and not
// ready yet. All methods may be called from several goroutines.
type State struct {
	ready   atomic.Bool
	failing atomic.Pointer[string]
	// beat is when the agent's loop came round last, nil before the first time.
	beat atomic.Pointer[time.Time]
	// pace is how often it does at least, in nanoseconds.
	pace atomic.Int64
}

// beatGrace is how much longer than its pace a turn of the loop may take: a walk over a
// million sockets and 100,000 descriptors, on a host without a free CPU, takes seconds.
const beatGrace = 15 * time.Second

// SetReady says that programs are attached and the first snapshot is done.
func (s *State) SetReady() { s.ready.Store(true) }

// SetFailing says that the agent does not do its work, and why; "" says that it
// does again.
func (s *State) SetFailing(why string) { s.failing.Store(&why) }

// SetPace says how often the agent's loop comes round at least.
func (s *State) SetPace(d time.Duration) { s.pace.Store(int64(d)) }

// Beat says that the agent's loop came round. The time has the monotonic clock in it,
// which stands still while the machine is suspended, as the loop does.
func (s *State) Beat() {
	now := time.Now()
	s.beat.Store(&now)
}

// Health returns "" or why the agent does not work.
func (s *State) Health() string {
	if why := s.failing.Load(); why != nil && *why != "" {
		return *why
	}
	last := s.beat.Load()
	if last == nil {
		return ""
	}
	if quiet := time.Since(*last); quiet > 2*time.Duration(s.pace.Load())+beatGrace {
		return fmt.Sprintf("the agent's loop has not come round for %v", quiet.Round(time.Second))
	}
	return ""
}

// Readiness returns "" or why there are no findings to be expected yet.
func (s *State) Readiness() string {
	if !s.ready.Load() {
		return "not attached yet, or the first snapshot is not done"
	}
	return s.Health()
}
