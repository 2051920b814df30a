package explain

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// WriteQueue builds the sentence of a warning about write queues, which is about
// one of the limits.
func WriteQueue(w *finding.WriteQueue, limits *writequeue.Limits) string {
	who := between(w)
	if w.Status == finding.Resolved {
		return fmt.Sprintf("%s: again %s", who, within(w.Limit, limits))
	}
	switch w.Limit {
	case finding.LimitPending:
		return fmt.Sprintf("%s: %s written and not acknowledged, %s of them not even sent; the limit is %s",
			who, readable.Size(w.Pending()), readable.Size(w.Unsent), readable.Size(limits.Pending))
	case finding.LimitUndrained:
		return fmt.Sprintf("%s: nothing of what was written%s was acknowledged for %s; the limit is %s",
			who, oneOf(w.Sockets), readable.Age(w.Undrained), readable.Age(limits.Undrained))
	}
	s := fmt.Sprintf("%s: written data takes %s to be acknowledged (99th percentile; median %s, %d observations)",
		who, milliseconds(w.P99), milliseconds(w.P50), w.Samples)
	if w.MinRTT == 0 {
		return s + "; the limit is " + milliseconds(limits.Flush)
	}
	return s + fmt.Sprintf("; the limit is %s above the path's shortest round trip, %s",
		milliseconds(limits.Flush), milliseconds(w.MinRTT))
}

func within(l finding.QueueLimit, limits *writequeue.Limits) string {
	switch l {
	case finding.LimitPending:
		return "no more than " + readable.Size(limits.Pending) + " wait to be acknowledged"
	case finding.LimitUndrained:
		return "something of what was written is acknowledged within " + readable.Age(limits.Undrained)
	}
	return "written data is acknowledged in time"
}

// between names the service and its peer, the service by its port.
func between(w *finding.WriteQueue) string {
	if w.Client() {
		return fmt.Sprintf("to %s", address(w.Peer))
	}
	return fmt.Sprintf("from %s to %s", address(w.Local), readable.AppendAddr(nil, w.Peer.Addr()))
}

// oneOf says that it is about one of several connections.
func oneOf(n uint64) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(" to one of %d connections", n)
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
