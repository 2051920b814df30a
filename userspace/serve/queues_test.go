package serve

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Before a patrol there is nothing to see: a zero would be a claim.
func TestWriteQueues(t *testing.T) {
	m := newTestMetrics()
	if n, err := testutil.GatherAndCount(m.Registry(), "tcplimbo_write_queue_sockets"); n != 0 || err != nil {
		t.Errorf("%d series before the first patrol, %v", n, err)
	}
	m.WriteQueues(flow.WriteQueues{Sockets: 9})
	m.WriteQueues(flow.WriteQueues{Sockets: 2, Unsent: 300, Unacked: 40, Quiet: 1500 * time.Millisecond, Busy: time.Minute})
	m.Patrol(20 * time.Millisecond)
	m.Patrol(5 * time.Millisecond)
	const text = `
# HELP tcplimbo_patrol_seconds_total Time that these walks took.
# TYPE tcplimbo_patrol_seconds_total counter
tcplimbo_patrol_seconds_total 0.025
# HELP tcplimbo_patrols_total Walks that looked for stalled ESTABLISHED sockets.
# TYPE tcplimbo_patrols_total counter
tcplimbo_patrols_total 2
# HELP tcplimbo_write_queue_quiet_seconds_max The longest time that an ESTABLISHED socket with unacknowledged data has got no ACK.
# TYPE tcplimbo_write_queue_quiet_seconds_max gauge
tcplimbo_write_queue_quiet_seconds_max 1.5
# HELP tcplimbo_write_queue_sockets ESTABLISHED sockets with data that is not acknowledged, at the last patrol.
# TYPE tcplimbo_write_queue_sockets gauge
tcplimbo_write_queue_sockets 2
# HELP tcplimbo_write_queue_unacked_bytes Bytes sent on ESTABLISHED sockets and not acknowledged.
# TYPE tcplimbo_write_queue_unacked_bytes gauge
tcplimbo_write_queue_unacked_bytes 40
# HELP tcplimbo_write_queue_unsent_bytes Bytes written to ESTABLISHED sockets and not sent.
# TYPE tcplimbo_write_queue_unsent_bytes gauge
tcplimbo_write_queue_unsent_bytes 300
`
	want(t, m, text, "tcplimbo_patrol_seconds_total", "tcplimbo_patrols_total", "tcplimbo_write_queue_quiet_seconds_max",
		"tcplimbo_write_queue_sockets", "tcplimbo_write_queue_unacked_bytes", "tcplimbo_write_queue_unsent_bytes")
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
