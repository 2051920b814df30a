package e2e

import (
	"bytes"
	"encoding/json"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// key names a record of a finding; an update has its time besides.
func key(id, status, at string) string { return id + " " + status + " " + at }

func keyOf(attributes map[string]any, at time.Time) string {
	id, _ := attributes["tcplimbo.finding.id"].(string)
	status, _ := attributes["tcplimbo.finding.status"].(string)
	return key(id, status, at.Format("2006-01-02T15:04:05.000000000Z"))
}

// lacking returns the agent's findings that are not among the received.
func lacking(said []*record, got []received) []*record {
	have := map[string]bool{}
	for _, r := range got {
		have[keyOf(r.Attributes, r.Time)] = true
	}
	var missing []*record
	for _, r := range said {
		if r.finding() && !have[key(r.str("tcplimbo.finding.id"), r.status(), r.str("time"))] {
			missing = append(missing, r)
		}
	}
	return missing
}

// TestCollector: a real collector gets every finding by OTLP over gRPC, over HTTP
// and by reading the log file, with the same attributes as on standard output.
func TestCollector(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			s := newScene(t)
			c := newCollector(t)
			c.start()
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,k8s.pod.name=the-agents-own")
			t.Setenv("NODE_NAME", "node-1")
			endpoint := c.grpc // on loopback, so without TLS
			if protocol != "grpc" {
				endpoint = "http://" + c.http
			}
			a := startRun(t, "--log-file", c.path("log.json"), "--otlp-endpoint", endpoint)
			set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 8, Payload: 100})
			s.make(workload.Spec{Kind: workload.FinWait2Orphaned, Count: 4, Family: workload.IPv6, Peers: workload.PeersHeld})
			s.waitOpen(a, 20*time.Second)
			if err := set.Close(); err != nil {
				t.Fatal(err)
			}
			a.wait(20*time.Second, func(r []*record) bool { return len(byTuple(r, "resolved")) >= 8 })
			a.stop(syscall.SIGTERM)
			for _, file := range []string{"otlp.json", "read.json"} {
				got := c.await(file, "all findings", func(got []received) bool { return len(lacking(a.all(), got)) == 0 })
				compareReceived(t, a.all(), got, file == "read.json")
			}
			checkMetrics(t, c)
		})
	}
}

// compareReceived compares each record with its line.
func compareReceived(t *testing.T, said []*record, got []received, readFromFile bool) {
	t.Helper()
	by := map[string]received{}
	for _, r := range got {
		k := keyOf(r.Attributes, r.Time)
		if _, twice := by[k]; twice {
			t.Errorf("%s came twice", k)
		}
		by[k] = r
	}
	for _, line := range said {
		if !line.finding() {
			continue
		}
		r := by[key(line.str("tcplimbo.finding.id"), line.status(), line.str("time"))]
		var want map[string]any
		if err := json.Unmarshal([]byte(line.line), &want); err != nil {
			t.Fatal(err)
		}
		severity := 13 // OTLP's warn
		if line.status() == "resolved" {
			severity = 9 // and info
		}
		if r.Severity != severity || r.Text != line.str("level") {
			t.Errorf("severity %d %q of %q", r.Severity, r.Text, line.str("level"))
		}
		if !readFromFile {
			compareFields(t, r, want)
		}
		if !reflect.DeepEqual(r.Attributes, want) {
			t.Fatalf("attributes differ:\ngot  %v\nwant %v", r.Attributes, want)
		}
	}
}

// compareFields looks at what OTLP has a field for, and takes it out of want.
func compareFields(t *testing.T, r received, want map[string]any) {
	t.Helper()
	if r.Body != want["message"] || r.Event != want["event.name"] {
		t.Errorf("body %q, event name %q; want %q and %q", r.Body, r.Event, want["message"], want["event.name"])
	}
	for _, field := range []string{"time", "level", "message", "event.name"} {
		delete(want, field)
	}
	if r.Resource["service.name"] != "tcplimbo" || r.Resource["host.name"] != want["host.name"] ||
		r.Resource["k8s.node.name"] != "node-1" || r.Resource["deployment.environment.name"] != "test" {
		t.Errorf("resource %v", r.Resource)
	}
	if r.Resource["k8s.pod.name"] != want["k8s.pod.name"] {
		t.Errorf("the resource names the pod %v, the line %v", r.Resource["k8s.pod.name"], want["k8s.pod.name"])
	}
}

// checkMetrics: the collector has metrics too, of the agent and not of others.
func checkMetrics(t *testing.T, c *collector) {
	t.Helper()
	var all []byte
	c.lines("metrics.json", func(line []byte) { all = append(all, line...) })
	for _, name := range []string{
		`"tcplimbo_sockets"`, `"tcplimbo_findings_total"`, `"tcplimbo_finding_duration_seconds"`, `"exponentialHistogram"`,
		`"tcplimbo_tcp_sockets"`, `"the-agents-own"`,
	} {
		if !bytes.Contains(all, []byte(name)) {
			t.Errorf("no %s in the metrics", name)
		}
	}
}

// TestCollectorAway: what is found while the collector is not there, or answers to
// nobody, reaches it later.
func TestCollectorAway(t *testing.T) {
	for name, away := range map[string]struct {
		protocol    string
		leave, back func(*collector)
	}{
		"ended":   {"grpc", (*collector).terminate, (*collector).start},
		"stopped": {"http/protobuf", func(c *collector) { c.signal(syscall.SIGSTOP) }, func(c *collector) { c.signal(syscall.SIGCONT) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c := newCollector(t)
			c.start()
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", away.protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
			endpoint := c.grpc
			if away.protocol != "grpc" {
				endpoint = c.http
			}
			a := startRun(t, "--otlp-endpoint", "http://"+endpoint)
			s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 1})
			s.waitOpen(a, 20*time.Second)
			c.await("otlp.json", "the first finding", func(got []received) bool { return len(got) > 0 })

			away.leave(c)
			s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 500})
			s.waitOpen(a, 20*time.Second)
			// Long enough for attempts to fail.
			a.waitDiagnostic(t, "records cannot be written", 20*time.Second)
			away.back(c)
			c.await("otlp.json", "all findings", func(got []received) bool { return len(lacking(a.all(), got)) == 0 })
			a.waitDiagnostic(t, "records are written again", 20*time.Second)
			a.stop(syscall.SIGTERM)
		})
	}
}
