package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// awayVariable says how long the collector of TestFlood answers to nobody.
const awayVariable = "TCPLIMBO_TEST_AWAY"

// TestFlood: a collector answers to nobody for a while, and meanwhile 10,000 sockets get
// stuck at once, go on being stuck, and half of them end. Standard output and the log file
// are told all of it, memory is bounded, and when the collector is back it gets every open
// and every resolved; of the updates, what it does not get was counted.
func TestFlood(t *testing.T) {
	away := 5 * time.Second
	if text := os.Getenv(awayVariable); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", awayVariable, err)
		}
	}
	s, c := newScene(t), newCollector(t)
	c.start()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
	log, metrics := filepath.Join(t.TempDir(), "log.json"), freeAddress(t)
	a := startRun(t, "--metrics-addr", metrics, "--log-file", log, "--log-file-max-size", "0", "--otlp-endpoint", "grpc://"+c.grpc)
	ns := s.namespace(false)
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 500, NS: ns})
	s.waitOpen(a, time.Minute)
	before := len(a.all())

	c.signal(syscall.SIGSTOP)
	stopped := time.Now()
	ending := s.make(workload.Spec{Kind: workload.CloseWaitIgnored, Count: 5000, NS: ns})
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 5000, NS: ns, Family: workload.IPv6})
	s.waitOpen(a, time.Minute)
	t.Logf("10,000 opened within %s", spread(a.all()[before:]))
	if err := ending.Close(); err != nil {
		t.Fatal(err)
	}
	gone := len(ending.Truths())
	if !a.wait(time.Minute, func(r []*record) bool { return len(byTuple(r, "resolved")) >= gone }) {
		t.Fatalf("%d of %d resolved", len(byTuple(a.all(), "resolved")), gone)
	}
	a.waitDiagnostic(t, "records cannot be written", 20*time.Second)
	for time.Since(stopped) < away {
		a.checkQueues(t, metrics)
		time.Sleep(time.Second)
	}
	queued, _ := a.checkQueues(t, metrics)
	t.Logf("after %s %.0f records wait for the collector, and the agent has %d MB",
		time.Since(stopped).Round(time.Second), queued, residentMB(t, a.cmd.Process.Pid))

	c.signal(syscall.SIGCONT)
	a.waitDiagnostic(t, "records are written again", 20*time.Second)
	for deadline := time.Now().Add(time.Minute); queued > 0; time.Sleep(100 * time.Millisecond) {
		if queued, _ = a.checkQueues(t, metrics); time.Now().After(deadline) {
			t.Fatalf("%.0f records wait although the collector is back", queued)
		}
	}
	_, dropped := a.checkQueues(t, metrics)
	a.stop(syscall.SIGTERM)
	c.terminate()
	compareFlood(t, a.all(), c.logs("otlp.json"), fileRecords(t, log), int(dropped))
	s.audit(a, false)
}

// compareFlood compares what a collector got, and a log file, with standard output.
func compareFlood(t *testing.T, said []*record, got []received, file []*record, dropped int) {
	t.Helper()
	lost := map[string]int{}
	for _, r := range lacking(said, got) {
		lost[r.status()]++
	}
	t.Logf("%d records were said, %d reached the collector, of %d updates it was not told", len(said), len(got), lost["update"])
	if lost["open"]+lost["resolved"] > 0 || lost["update"] != dropped {
		t.Errorf("the collector lacks %v, and %d are counted as dropped", lost, dropped)
	}
	if len(file) != len(said) {
		t.Errorf("%d records in the log file, want %d", len(file), len(said))
	}
}

// spread is how long it took to say what was opened.
func spread(records []*record) time.Duration {
	var first, last time.Time
	for _, r := range records {
		if !r.finding() || r.status() != "open" {
			continue
		}
		at := r.time("time")
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(first).Round(time.Millisecond)
}

// checkQueues fails if an agent takes more memory than it may, or a queue does, or one but
// OTLP's drops anything. It returns what OTLP's queue holds and what it dropped.
func (a *agent) checkQueues(t *testing.T, metrics string) (queued, dropped float64) {
	t.Helper()
	if mb := residentMB(t, a.cmd.Process.Pid); mb > mostMB {
		t.Errorf("the agent has %d MB, want %d at most", mb, mostMB)
	}
	m := scrape(t, "http://"+metrics+"/metrics")
	for _, name := range []string{"stdout", "file", "otlp"} {
		if m[`tcplimbo_sink_queued_bytes{sink="`+name+`"}`] > m[`tcplimbo_sink_queue_capacity_bytes{sink="`+name+`"}`] {
			t.Errorf("the queue of %s holds more than it may", name)
		}
		if n := m[`tcplimbo_sink_dropped_records_total{sink="`+name+`",type="finding"}`]; n > 0 && name != "otlp" {
			t.Errorf("%s dropped %.0f records", name, n)
		}
	}
	return m[`tcplimbo_sink_queued_records{sink="otlp"}`], m[`tcplimbo_sink_dropped_records_total{sink="otlp",type="finding"}`]
}

// scrape returns series by name and labels.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			var v float64
			if _, err := fmt.Sscan(line[at:], &v); err == nil {
				m[line[:at]] = v
			}
		}
	}
	if len(m) == 0 {
		t.Fatalf("no metrics: %s", text)
	}
	return m
}
