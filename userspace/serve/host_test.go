package serve

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// full returns metrics that show everything there is to show.
func full() *Metrics {
	m := newTestMetrics()
	m.Stages("ring_buffer")
	m.Events("transition", 1)
	m.Retransmits("rto", 1)
	m.AddSink("stdout", func() SinkStats { return SinkStats{} })
	m.Pushed(true)
	m.WriteQueues(flow.WriteQueues{}, nil, [finding.QueueLimits]int{})
	m.Patrol(time.Millisecond)
	m.Survey(time.Millisecond)
	m.Opened(finding.CloseWaitSilent, finding.EOFUnread, &finding.Workload{Namespace: "n", Pod: "p", Container: "c"})
	m.Resolved(finding.CloseWaitSilent, finding.EOFUnread, finding.OutcomeClosed, time.Minute, nil)
	m.Attributed(finding.RelationHolder)
	m.Census(flow.Census{flow.StateEstablished: 7})
	m.Usage(flow.Usage{
		RingFill: 1, RingSize: 2, Maps: []flow.MapUse{{Name: "old_generation", Used: 1, Capacity: 2}},
		Programs: []flow.ProgramUse{{Name: "limbo_age", Runs: 1, Time: time.Second, Missed: 1}},
	})
	return m
}

// TestPromtoolFindsNothing has Prometheus' own tool look at a whole scrape.
func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (apt-get install prometheus)")
	}
	s, end := start(t, Handler(Build{"1", "abc"}, full(), new(State)))
	body := fetch(t, "http://"+s.Addr().String()+"/metrics")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestEveryStateIsShown(t *testing.T) {
	m := newTestMetrics()
	if n := testutil.CollectAndCount(&m.host); n != 0 {
		t.Errorf("%d series before anybody counted", n)
	}
	m.Census(flow.Census{flow.StateEstablished: 7, flow.StateSynRecv: 2, flow.StateListen: 3})
	const head = `
# HELP tcplimbo_tcp_sockets TCP sockets of the host in each state, all network namespaces together, at the last walk; a closed socket is in no table that is walked.
# TYPE tcplimbo_tcp_sockets gauge
`
	want(t, m, head+`
tcplimbo_tcp_sockets{state="close_wait"} 0
tcplimbo_tcp_sockets{state="closed"} 0
tcplimbo_tcp_sockets{state="closing"} 0
tcplimbo_tcp_sockets{state="established"} 7
tcplimbo_tcp_sockets{state="fin_wait_1"} 0
tcplimbo_tcp_sockets{state="fin_wait_2"} 0
tcplimbo_tcp_sockets{state="last_ack"} 0
tcplimbo_tcp_sockets{state="listen"} 3
tcplimbo_tcp_sockets{state="syn_received"} 2
tcplimbo_tcp_sockets{state="syn_sent"} 0
tcplimbo_tcp_sockets{state="time_wait"} 0
`, "tcplimbo_tcp_sockets")
}

// TestProgramsWithoutStatistics: the kernel counts runs only where it is asked to,
// and no 0 may say that a program never ran.
func TestProgramsWithoutStatistics(t *testing.T) {
	m := newTestMetrics()
	programs := []flow.ProgramUse{{Name: "limbo_age", Missed: 3}, {Name: "limbo_read"}}
	m.Usage(flow.Usage{Programs: programs})
	if n := testutil.CollectAndCount(&m.host, "tcplimbo_program_runs_total", "tcplimbo_program_run_seconds_total"); n != 0 {
		t.Errorf("%d series of runs that nobody counts", n)
	}
	programs[0].Runs = 1
	m.Usage(flow.Usage{Programs: programs})
	if n := testutil.CollectAndCount(&m.host, "tcplimbo_program_runs_total"); n != 2 {
		t.Errorf("%d series of runs, want 2", n)
	}
}

// TestDurationIsNativeToo: one histogram, two forms.
func TestDurationIsNativeToo(t *testing.T) {
	m := full()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tcplimbo_finding_duration_seconds" {
			continue
		}
		for _, metric := range f.GetMetric() {
			if h := metric.GetHistogram(); h.GetSampleCount() == 1 {
				checkBoth(t, h)
				return
			}
		}
	}
	t.Error("no histogram with the finding")
}

func checkBoth(t *testing.T, h *dto.Histogram) {
	t.Helper()
	if len(h.GetBucket()) == 0 {
		t.Error("no classic buckets")
	}
	if len(h.GetPositiveSpan()) == 0 || h.Schema == nil {
		t.Error("no native buckets")
	}
}
