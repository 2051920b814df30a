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

// awayVariable says how long the collector of TestFlood and the reader of
// TestStoppedReader stand still.
const awayVariable = "TCPLIMBO_TEST_AWAY"

func awayTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(awayVariable)
	if text == "" {
		return 5 * time.Second
	}
	away, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", awayVariable, err)
	}
	return away
}

// TestFlood: a collector answers to nobody for a while, and meanwhile 10,000 sockets get
// stuck at once, go on being stuck, and half of them end. The log file is told all of it,
// standard output every open and resolved, memory is bounded, and when the collector is back
// it gets every open and resolved too; of the updates, what it does not get was counted.
func TestFlood(t *testing.T) {
	away := awayTime(t)
	s, c := newScene(t), newCollector(t)
	c.start()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
	log, metrics := filepath.Join(t.TempDir(), "log.json"), freeAddress(t)
	a := runForOurs(t, "--metrics-addr", metrics, "--log-file", log, "--log-file-max-size", "0", "--otlp-endpoint", "grpc://"+c.grpc)
	ns := s.namespace(false)
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 500, NS: ns})
	s.waitOpen(a, time.Minute)
	before := countStatus(a.all(), "open")

	c.signal(syscall.SIGSTOP)
	stopped := time.Now()
	ending := s.make(workload.Spec{Kind: workload.CloseWaitIgnored, Count: 5000, NS: ns})
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 5000, NS: ns, Family: workload.IPv6})
	// Counted: to compare thousands of records again and again would make a slow reader.
	if most := before + 10_000; !a.wait(time.Minute, func(r []*record) bool { return countStatus(r, "open") >= most }) {
		t.Fatalf("%d of 10,000 opened", countStatus(a.all(), "open")-before)
	}
	t.Logf("10,000 opened within %s", spread(a.all(), stopped))
	if err := ending.Close(); err != nil {
		t.Fatal(err)
	}
	gone := len(ending.Truths())
	if !a.wait(time.Minute, func(r []*record) bool { return countStatus(r, "resolved") >= gone }) {
		t.Fatalf("%d of %d resolved", countStatus(a.all(), "resolved"), gone)
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
	compareFlood(t, fileRecords(t, log), a.all(), c.logs("otlp.json"), int(dropped))
	s.audit(a, false)
}

// runForOurs starts an agent that flags what this process holds in CLOSE_WAIT, and nothing
// else: what other people's sockets are stuck would fill the queues too.
func runForOurs(t *testing.T, args ...string) *agent {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, ready := filepath.Join(dir, "tcplimbo.yaml"), filepath.Join(dir, "ready")
	text := fmt.Sprintf("close-wait: 1000h\nrules:\n  - match: {executable: %q}\n    close-wait: 2s\n", self)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, append([]string{
		"run", "-o", "json", "--ready-file", ready, "--config", file, "--group-above", "0",
		"--syn-sent", "1000h", "--fin-wait2", "1000h", "--closing", "1000h", "--established", "0",
	}, args...)...)
	a.waitReady(ready)
	return a
}

// compareFlood compares what a reader of standard output and a collector got with what a log
// file did: a file is written at once, a reader of a busy machine may be slow.
func compareFlood(t *testing.T, file, read []*record, got []received, dropped int) {
	t.Helper()
	lost := map[string]int{}
	for _, r := range lacking(file, got) {
		lost[r.status()]++
	}
	t.Logf("%d records were said, %d reached the collector, of %d updates it was not told", len(file), len(got), lost["update"])
	if lost["open"]+lost["resolved"] > 0 || lost["update"] != dropped {
		t.Errorf("the collector lacks %v, and %d are counted as dropped", lost, dropped)
	}
	for _, status := range []string{"open", "resolved"} {
		if n, want := countStatus(read, status), countStatus(file, status); n != want {
			t.Errorf("standard output has %d that are %s, the file %d", n, status, want)
		}
	}
}

func countStatus(records []*record, status string) (n int) {
	for _, r := range records {
		if r.finding() && r.status() == status {
			n++
		}
	}
	return n
}

// spread is how long it took to say what opened after a moment.
func spread(records []*record, after time.Time) time.Duration {
	var first, last time.Time
	for _, r := range records {
		at := r.time("time")
		if !r.finding() || r.status() != "open" || at.Before(after) {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(first).Round(time.Millisecond)
}

// checkQueues fails if an agent takes more memory than it may, or a queue does, or the log
// file's drops anything. It returns what OTLP's queue holds and what it dropped.
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
		if n := m[`tcplimbo_sink_dropped_records_total{sink="`+name+`",type="finding"}`]; n > 0 && name == "file" {
			t.Fatalf("%s dropped %.0f records", name, n)
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
