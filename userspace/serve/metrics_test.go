package serve

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

var allKinds = []finding.Kind{
	finding.SynSentStalled, finding.FinWait2Dangling, finding.CloseWaitSilent, finding.ClosingStalled,
}

func newTestMetrics() *Metrics { return NewMetrics(Build{"1.2.3", "abcdef"}, allKinds) }

func TestMetricsLint(t *testing.T) {
	m := newTestMetrics()
	m.Stages("ring_buffer", "old_generation")
	m.Events("transition", 0)
	m.AddSink("stdout", func() SinkStats { return SinkStats{} })
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// want compares the metrics of the given names with text in exposition format.
func want(t *testing.T, m *Metrics, text string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(text), names...); err != nil {
		t.Error(err)
	}
}

func TestOpenReturnsToZero(t *testing.T) {
	m := NewMetrics(Build{}, []finding.Kind{finding.FinWait2Dangling, finding.ClosingStalled})
	const head = `
# HELP tcplimbo_sockets Sockets in limbo right now: findings that are open. namespace, pod and container are empty where none is known, and \"other\" beyond 256 workloads.
# TYPE tcplimbo_sockets gauge
`
	const zeros = head + `
tcplimbo_sockets{container="",kind="closing_stalled",namespace="",pod="",reason="peer_silent"} 0
tcplimbo_sockets{container="",kind="closing_stalled",namespace="",pod="",reason="zero_window"} 0
tcplimbo_sockets{container="",kind="fin_wait2_dangling",namespace="",pod="",reason="half_closed"} 0
tcplimbo_sockets{container="",kind="fin_wait2_dangling",namespace="",pod="",reason="orphaned"} 0
`
	want(t, m, zeros, "tcplimbo_sockets")

	m.Opened(finding.FinWait2Dangling, finding.HalfClosed, nil)
	m.Opened(finding.FinWait2Dangling, finding.HalfClosed, nil)
	m.Changed(finding.FinWait2Dangling, finding.HalfClosed, finding.Orphaned, nil, nil)
	want(t, m, head+`
tcplimbo_sockets{container="",kind="closing_stalled",namespace="",pod="",reason="peer_silent"} 0
tcplimbo_sockets{container="",kind="closing_stalled",namespace="",pod="",reason="zero_window"} 0
tcplimbo_sockets{container="",kind="fin_wait2_dangling",namespace="",pod="",reason="half_closed"} 1
tcplimbo_sockets{container="",kind="fin_wait2_dangling",namespace="",pod="",reason="orphaned"} 1
`, "tcplimbo_sockets")

	m.Resolved(finding.FinWait2Dangling, finding.HalfClosed, finding.OutcomeReset, time.Minute, nil)
	m.Resolved(finding.FinWait2Dangling, finding.Orphaned, finding.OutcomeClosed, time.Hour, nil)
	want(t, m, zeros, "tcplimbo_sockets")
}

func TestKernelCounters(t *testing.T) {
	m := newTestMetrics()
	text := func(promotions, stale, early, nested, hidden, tracked, stacks int) string {
		return fmt.Sprintf(`
# HELP tcplimbo_kernel_early_looks_total Young slots looked at before their time because their ring came round; connections pay for it.
# TYPE tcplimbo_kernel_early_looks_total counter
tcplimbo_kernel_early_looks_total %d
# HELP tcplimbo_kernel_hidden_transitions_total State changes inside another one that no program was attached for; a walk follows.
# TYPE tcplimbo_kernel_hidden_transitions_total counter
tcplimbo_kernel_hidden_transitions_total %d
# HELP tcplimbo_kernel_nested_transitions_total State changes inside another one, seen by the second program only.
# TYPE tcplimbo_kernel_nested_transitions_total counter
tcplimbo_kernel_nested_transitions_total %d
# HELP tcplimbo_kernel_promotions_total Sockets that outlived a tick in a watched state and were handed to user space.
# TYPE tcplimbo_kernel_promotions_total counter
tcplimbo_kernel_promotions_total %d
# HELP tcplimbo_kernel_refused_programs_total Programs that the kernel did not load or attach after the start; what they are for is lacking.
# TYPE tcplimbo_kernel_refused_programs_total counter
tcplimbo_kernel_refused_programs_total %d
# HELP tcplimbo_kernel_stacks_lost_total User stacks that found no room in the kernel.
# TYPE tcplimbo_kernel_stacks_lost_total counter
tcplimbo_kernel_stacks_lost_total %d
# HELP tcplimbo_kernel_stacks_refused_total User stacks not taken, because more connections are opened than the budget allows.
# TYPE tcplimbo_kernel_stacks_refused_total counter
tcplimbo_kernel_stacks_refused_total %d
# HELP tcplimbo_kernel_stacks_total Distinct user stacks taken, of who opened connections or read their end of file.
# TYPE tcplimbo_kernel_stacks_total counter
tcplimbo_kernel_stacks_total %d
# HELP tcplimbo_kernel_stale_entries_total Entries of the old generation found to belong to a socket that is gone.
# TYPE tcplimbo_kernel_stale_entries_total counter
tcplimbo_kernel_stale_entries_total %d
# HELP tcplimbo_kernel_tracked_sockets Sockets in the old generation now; --max-promoted bounds it.
# TYPE tcplimbo_kernel_tracked_sockets gauge
tcplimbo_kernel_tracked_sockets %d
`, early, hidden, nested, promotions, stacks+3, stacks+2, stacks+1, stacks, stale, tracked)
	}
	names := []string{
		"tcplimbo_kernel_early_looks_total", "tcplimbo_kernel_hidden_transitions_total", "tcplimbo_kernel_nested_transitions_total",
		"tcplimbo_kernel_stacks_total", "tcplimbo_kernel_stacks_refused_total", "tcplimbo_kernel_stacks_lost_total",
		"tcplimbo_kernel_promotions_total", "tcplimbo_kernel_stale_entries_total", "tcplimbo_kernel_tracked_sockets",
		"tcplimbo_kernel_refused_programs_total",
	}
	m.Kernel(flow.Stats{StacksRefused: 1, StacksLost: 2, Refused: 3})
	want(t, m, text(0, 0, 0, 0, 0, 0, 0), names...)
	m.Kernel(flow.Stats{Stacks: 7, StacksRefused: 8, StacksLost: 9, Refused: 10, Promoted: 1, Stale: 2, YoungOverrun: 3, Nested: 4, Hidden: 5, Tracked: 6})
	want(t, m, text(1, 2, 3, 4, 5, 6, 7), names...)
}

func TestTotals(t *testing.T) {
	m := newTestMetrics()
	m.Opened(finding.CloseWaitSilent, finding.EOFUnread, nil)
	m.Changed(finding.CloseWaitSilent, finding.EOFUnread, finding.EOFIgnored, nil, nil)
	m.Resolved(finding.CloseWaitSilent, finding.EOFIgnored, finding.OutcomeClosed, 90*time.Second, nil)
	m.Lost("ring_buffer", 3)
	m.Lost("ring_buffer", 4)
	m.Events("retransmit", 5)
	m.Delay(40 * time.Millisecond)
	m.Delay(-time.Second) // the clock of the record was ahead: not late, not early

	for _, tt := range []struct {
		name string
		got  float64
		want float64
	}{
		{"findings opened for the first reason", testutil.ToFloat64(m.findings.WithLabelValues("close_wait_silent", "eof_unread")), 1},
		{"findings opened for the later reason", testutil.ToFloat64(m.findings.WithLabelValues("close_wait_silent", "eof_ignored")), 0},
		{"resolved as closed", testutil.ToFloat64(m.resolved.WithLabelValues("close_wait_silent", "closed")), 1},
		{"resolved as reset", testutil.ToFloat64(m.resolved.WithLabelValues("close_wait_silent", "reset")), 0},
		{"lost", testutil.ToFloat64(m.lost.WithLabelValues("ring_buffer")), 7},
		{"events", testutil.ToFloat64(m.events.WithLabelValues("retransmit")), 5},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	want(t, m, `
# HELP tcplimbo_detection_delay_seconds Time from the moment a socket passed its threshold to its finding.
# TYPE tcplimbo_detection_delay_seconds histogram
tcplimbo_detection_delay_seconds_bucket{le="0.01"} 1
tcplimbo_detection_delay_seconds_bucket{le="0.025"} 1
tcplimbo_detection_delay_seconds_bucket{le="0.05"} 2
tcplimbo_detection_delay_seconds_bucket{le="0.1"} 2
tcplimbo_detection_delay_seconds_bucket{le="0.15"} 2
tcplimbo_detection_delay_seconds_bucket{le="0.25"} 2
tcplimbo_detection_delay_seconds_bucket{le="0.35"} 2
tcplimbo_detection_delay_seconds_bucket{le="0.5"} 2
tcplimbo_detection_delay_seconds_bucket{le="1"} 2
tcplimbo_detection_delay_seconds_bucket{le="2.5"} 2
tcplimbo_detection_delay_seconds_bucket{le="5"} 2
tcplimbo_detection_delay_seconds_bucket{le="10"} 2
tcplimbo_detection_delay_seconds_bucket{le="+Inf"} 2
tcplimbo_detection_delay_seconds_sum 0.04
tcplimbo_detection_delay_seconds_count 2
`, "tcplimbo_detection_delay_seconds")
}

func TestSinks(t *testing.T) {
	m := newTestMetrics()
	m.AddSink("file", func() SinkStats { return SinkStats{Written: 1} })
	m.AddSink("file", func() SinkStats {
		return SinkStats{Queued: 2, QueuedBytes: 300, Written: 4, DroppedFindings: 5, DroppedTransitions: 7, Errors: 6}
	})
	want(t, m, `
# HELP tcplimbo_sink_dropped_records_total Records dropped: the queue was full, or closed before they were written.
# TYPE tcplimbo_sink_dropped_records_total counter
tcplimbo_sink_dropped_records_total{sink="file",type="finding"} 5
tcplimbo_sink_dropped_records_total{sink="file",type="transition"} 7
# HELP tcplimbo_sink_errors_total Attempts to write that went wrong.
# TYPE tcplimbo_sink_errors_total counter
tcplimbo_sink_errors_total{sink="file"} 6
# HELP tcplimbo_sink_queued_bytes Bytes that wait to be written.
# TYPE tcplimbo_sink_queued_bytes gauge
tcplimbo_sink_queued_bytes{sink="file"} 300
# HELP tcplimbo_sink_queued_records Records that wait to be written.
# TYPE tcplimbo_sink_queued_records gauge
tcplimbo_sink_queued_records{sink="file"} 2
# HELP tcplimbo_sink_written_records_total Records written.
# TYPE tcplimbo_sink_written_records_total counter
tcplimbo_sink_written_records_total{sink="file"} 4
`, "tcplimbo_sink_dropped_records_total", "tcplimbo_sink_errors_total", "tcplimbo_sink_queued_bytes",
		"tcplimbo_sink_queued_records", "tcplimbo_sink_written_records_total")
}

// TestReasonsAreTheContracts keeps the table and section 3 of the contract
// alike.
func TestReasonsAreTheContracts(t *testing.T) {
	contract := map[finding.Kind]string{
		finding.SynSentStalled:     "no_reply dropped_locally unreachable listener_overflow",
		finding.FinWait2Dangling:   "half_closed orphaned",
		finding.CloseWaitSilent:    "eof_ignored eof_unread still_sending unaccepted",
		finding.EstablishedStalled: "peer_silent zero_window not_reading unaccepted",
		finding.ClosingStalled:     "peer_silent zero_window",
	}
	used := map[finding.Reason]bool{}
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		var names []string
		for _, r := range reasons[k] {
			names = append(names, r.String())
			used[r] = true
		}
		if got := strings.Join(names, " "); got != contract[k] {
			t.Errorf("%s has %q, want %q", k, got, contract[k])
		}
	}
	for r := finding.ReasonNone + 1; r < finding.ReasonCount; r++ {
		if !used[r] {
			t.Errorf("no kind has the reason %s", r)
		}
	}
}

func TestMetricsFromManyGoroutines(t *testing.T) {
	m := newTestMetrics()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				m.Opened(finding.SynSentStalled, finding.NoReply, nil)
				m.AddSink("stdout", func() SinkStats { return SinkStats{} })
				if _, err := m.Registry().Gather(); err != nil {
					t.Error(err)
				}
				m.Resolved(finding.SynSentStalled, finding.NoReply, finding.OutcomeRefused, time.Second, nil)
			}
		})
	}
	wg.Wait()
	if open := m.Open(finding.SynSentStalled, finding.NoReply); open != 0 {
		t.Errorf("%d open at the end", open)
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m := newTestMetrics()
	allocs := testing.AllocsPerRun(100, func() {
		m.Events("transition", 1)
		m.Delay(time.Millisecond)
		m.Opened(finding.SynSentStalled, finding.NoReply, nil)
		m.Resolved(finding.SynSentStalled, finding.NoReply, finding.OutcomeRefused, time.Second, nil)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
