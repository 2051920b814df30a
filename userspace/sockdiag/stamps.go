package sockdiag

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// sock_diag does not tell since when a segment is being sent again, but how often
// it was and how long the timer runs now. Timers are late and never early, so the
// sum of the waits is a time that has passed at least.

const (
	// synTimeout is the first wait for an answer to a SYN (TCP_TIMEOUT_INIT), and
	// probeTimeout for one to a probe of a closed window (TCP_RTO_MIN).
	synTimeout   = time.Second
	probeTimeout = 200 * time.Millisecond
	// rtoMost is the longest that a timer waits (TCP_RTO_MAX).
	rtoMost = 120 * time.Second
	// backoffMost bounds the shifts; rtoMost is reached before.
	backoffMost = 20
)

// retransmitting fills in what the retransmission timer proves.
func retransmitting(s *flow.Sock) {
	// The first timeout, before it was doubled. Where it cannot grow any more, this
	// is too small, which only makes the bound smaller.
	first := s.RTO >> min(s.Backoff, backoffMost)
	if s.State == flow.StateSynSent {
		first = min(first, synTimeout)
	}
	waited := waits(first, s.RTO, s.Backoff)
	// Some timeouts are not followed by a longer one: thin streams, and the first
	// SYNs since 6.5 (tcp_syn_linear_timeouts).
	waited += time.Duration(s.Retransmits-min(s.Retransmits, s.Backoff)) * first
	waited += running(s.RTO, s.Expires)
	switch {
	case s.State == flow.StateSynSent:
		s.Waiting, s.Busy = waited, waited
	case s.Retransmits > 0:
		// As retrans_stamp: since the first retransmission.
		s.Waiting, s.Busy = max(0, waited-first), waited
	default:
		s.Busy = 0 // something is queued, and nothing tells since when
	}
}

// probing fills in what the timer of a closed window proves.
func probing(s *flow.Sock) {
	first := min(s.RTO, probeTimeout)
	wait := min(first<<min(s.Backoff, backoffMost), rtoMost)
	waited := waits(first, wait, s.Backoff) + running(wait, s.Expires)
	s.Busy = waited
	if s.Backoff > 0 {
		s.Limits.Probing = max(0, waited-first)
	}
}

// waits adds up the timeouts that have fired: doubled n times, up to most.
func waits(first, most time.Duration, n uint8) time.Duration {
	sum := time.Duration(0)
	for range min(n, backoffMost) {
		sum += min(first, most)
		first = min(2*first, most)
	}
	return sum
}

// running is how long a timer has been running that was set to so much.
func running(set, left time.Duration) time.Duration { return max(0, set-left) }
