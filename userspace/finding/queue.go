package finding

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// QueueLimit is what the write queues of a service and a peer are above.
type QueueLimit uint8

// The limits of write queues.
const (
	// LimitPending is about bytes that were written and not acknowledged.
	LimitPending QueueLimit = iota
	// LimitUndrained is about the time since some of them last were.
	LimitUndrained
	// LimitFlush is about the time they take, 99th percentile.
	LimitFlush
	QueueLimits
)

var limitNames = [QueueLimits]string{
	LimitPending: "pending", LimitUndrained: "undrained", LimitFlush: "flush_p99",
}

func (l QueueLimit) String() string { return limitNames[l] }

// WriteQueue is a warning: what waits between a service and a peer is above a
// limit, or no more.
type WriteQueue struct {
	Time   time.Time
	Status Status // Open or Resolved
	Limit  QueueLimit
	flow.WriteQueue
	// P50 and P99 are how long written data takes to be acknowledged, of Samples
	// observations; negative without any.
	P50, P99 time.Duration
	Samples  uint64
	// MinRTT is the path's shortest round trip, 0 if not known.
	MinRTT  time.Duration
	Message string
}
