package serve

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

var hostile = flow.Pair{
	Local: netip.MustParseAddrPort("10.0.0.1:0"), Peer: netip.MustParseAddrPort("[fe80::1%<b>]:443"), NetNS: 1,
}

// Before a patrol there is nothing to see: a zero would be a claim.
func TestWriteQueues(t *testing.T) {
	m := newTestMetrics()
	if n, err := testutil.GatherAndCount(m.Registry(), "tcplimbo_write_queue_sockets"); n != 0 || err != nil {
		t.Errorf("%d series before the first patrol, %v", n, err)
	}
	m.WriteQueues(flow.WriteQueues{Sockets: 9}, nil, [finding.QueueLimits]int{})
	m.WriteQueues(flow.WriteQueues{Sockets: 2, Unsent: 300, Unacked: 40, Quiet: 1500 * time.Millisecond, Busy: time.Minute, LeftOut: 4},
		[]writequeue.Row{{WriteQueue: flow.WriteQueue{Pair: hostile, Sockets: 1, Unsent: 3 << 20}, P50: time.Millisecond, P99: 1500 * time.Millisecond, Samples: 7}},
		[finding.QueueLimits]int{finding.LimitUndrained: 3})
	m.Flushed(0)
	m.Flushed(len(writequeue.Bounds))
	m.Patrol(20 * time.Millisecond)
	m.Patrol(5 * time.Millisecond)
	const text = `
# HELP tcplimbo_patrol_seconds_total Time that these walks took.
# TYPE tcplimbo_patrol_seconds_total counter
tcplimbo_patrol_seconds_total 0.025
# HELP tcplimbo_patrols_total Walks that looked for stalled ESTABLISHED sockets.
# TYPE tcplimbo_patrols_total counter
tcplimbo_patrols_total 2
# HELP tcplimbo_write_queue_above_limit Services and peers that are above a limit: --warn-pending, --warn-undrained, --warn-flush-p99.
# TYPE tcplimbo_write_queue_above_limit gauge
tcplimbo_write_queue_above_limit{limit="flush_p99"} 0
tcplimbo_write_queue_above_limit{limit="pending"} 0
tcplimbo_write_queue_above_limit{limit="undrained"} 3
# HELP tcplimbo_write_queue_left_out_sockets Sockets whose service and peer found no room: they are in the sums, not among the pairs.
# TYPE tcplimbo_write_queue_left_out_sockets gauge
tcplimbo_write_queue_left_out_sockets 4
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
		"tcplimbo_write_queue_above_limit", "tcplimbo_write_queue_left_out_sockets",
		"tcplimbo_write_queue_sockets", "tcplimbo_write_queue_unacked_bytes", "tcplimbo_write_queue_unsent_bytes")
	var flushed dto.Metric
	if err := m.flushed.Write(&flushed); err != nil {
		t.Fatal(err)
	}
	if h := flushed.GetHistogram(); h.GetSampleCount() != 2 || h.GetBucket()[0].GetCumulativeCount() != 1 ||
		h.GetBucket()[len(writequeue.Bounds)-1].GetCumulativeCount() != 1 {
		t.Errorf("flush delays %v", h)
	}
	page := httptest.NewRecorder()
	Handler(Build{}, m, new(State)).ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	if text := page.Body.String(); !strings.Contains(text, "3.0 MiB") || !strings.Contains(text, "1.5s") || strings.Contains(text, "<b>") {
		t.Errorf("the status page: %s", text)
	}
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
