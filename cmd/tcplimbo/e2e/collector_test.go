package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// collectorSource is the module of the OpenTelemetry Collector for tests.
const collectorSource = "../../../.ci/collector"

// collectorBinary builds the collector once for all runs: some minutes of CPU
// time, in a module of its own.
func collectorBinary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(collectorSource, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(text)
	}
	dir := filepath.Join(cache, "tcplimbo")
	path := filepath.Join(dir, "collector-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.CommandContext(t.Context(), "nice", "go", "build", "-trimpath", "-buildvcs=false", "-o", made, ".")
	cmd.Dir, cmd.Env = collectorSource, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatalf("building the collector: %v\n%s", err, out)
		}
		t.Skipf("building the collector: %v\n%s", err, out)
	}
	if err := os.Rename(made, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// collector is a real OpenTelemetry Collector.
type collector struct {
	t          *testing.T
	binary     string
	dir        string
	grpc, http string // HOST:PORT
	cmd        *exec.Cmd
	stderr     bytes.Buffer
}

const collectorConfig = `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "%[1]s"}
      http: {endpoint: "%[2]s"}
  file_log:
    include: ["%[3]s/log.json"]
    start_at: beginning
    poll_interval: 100ms
    include_file_name: false
    operators:
      - type: json_parser
        timestamp: {parse_from: attributes.time, layout_type: gotime, layout: "2006-01-02T15:04:05.000000000Z"}
        severity: {parse_from: attributes.level}
exporters:
  file/otlp: {path: "%[3]s/otlp.json", flush_interval: 100ms, append: true}
  file/read: {path: "%[3]s/read.json", flush_interval: 100ms, append: true}
  file/metrics: {path: "%[3]s/metrics.json", flush_interval: 100ms, append: true}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs/otlp: {receivers: [otlp], exporters: [file/otlp]}
    logs/read: {receivers: [file_log], exporters: [file/read]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
`

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t, binary: collectorBinary(t), dir: t.TempDir(), grpc: freeAddress(t), http: freeAddress(t)}
	text := fmt.Sprintf(collectorConfig, c.grpc, c.http, c.dir)
	if err := os.WriteFile(c.path("config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *collector) path(name string) string { return filepath.Join(c.dir, name) }

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the collector and waits until it takes connections.
func (c *collector) start() {
	c.t.Helper()
	c.cmd = exec.Command(c.binary, "--config", "file:"+c.path("config.yaml"))
	c.stderr.Reset()
	c.cmd.Stderr = &c.stderr
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if answers(c.grpc) && answers(c.http) {
			return
		}
		if time.Now().After(deadline) {
			c.kill()
			c.t.Fatalf("the collector takes no connections:\n%s", c.stderr.String())
		}
	}
}

func answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (c *collector) signal(sig syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

// terminate lets the collector write what it has confirmed.
func (c *collector) terminate() {
	c.signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
	c.cmd = nil
}

func (c *collector) kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.cmd = nil
}

// received is a log record as the collector has it.
type received struct {
	Resource   map[string]any
	Attributes map[string]any
	Time       time.Time
	Severity   int
	Text       string
	Body       string
	Event      string
}

// The file exporter's lines are OTLP's JSON form.
type otlpLine struct {
	ResourceLogs []struct {
		Resource  struct{ Attributes []otlpAttribute }
		ScopeLogs []struct {
			LogRecords []struct {
				TimeUnixNano   string
				SeverityNumber int
				SeverityText   string
				EventName      string
				Body           otlpValue
				Attributes     []otlpAttribute
			}
		}
	}
}

type otlpAttribute struct {
	Key   string
	Value otlpValue
}

type otlpValue struct {
	StringValue *string
	IntValue    *string
	DoubleValue *float64
	BoolValue   *bool
	ArrayValue  *struct{ Values []otlpValue }
}

// plain makes values as encoding/json does: all numbers are float64.
func (v otlpValue) plain() any {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.IntValue != nil:
		n, err := strconv.ParseFloat(*v.IntValue, 64)
		if err != nil {
			return err
		}
		return n
	case v.DoubleValue != nil:
		return *v.DoubleValue
	case v.BoolValue != nil:
		return *v.BoolValue
	case v.ArrayValue != nil:
		var list []any
		for _, e := range v.ArrayValue.Values {
			list = append(list, e.plain())
		}
		return list
	}
	return nil
}

func attributes(list []otlpAttribute) map[string]any {
	m := map[string]any{}
	for _, a := range list {
		m[a.Key] = a.Value.plain()
	}
	return m
}

// logs returns what a pipeline has received so far, whole lines only.
func (c *collector) logs(file string) []received {
	c.t.Helper()
	var all []received
	c.lines(file, func(line []byte) {
		var l otlpLine
		if err := json.Unmarshal(line, &l); err != nil {
			c.t.Fatalf("%s of the collector: %v", file, err)
		}
		for _, resource := range l.ResourceLogs {
			for _, scope := range resource.ScopeLogs {
				for _, r := range scope.LogRecords {
					ns, err := strconv.ParseInt(r.TimeUnixNano, 10, 64)
					if err != nil {
						c.t.Fatalf("%s of the collector: %v", file, err)
					}
					body, _ := r.Body.plain().(string)
					all = append(all, received{
						Resource: attributes(resource.Resource.Attributes), Attributes: attributes(r.Attributes),
						Time: time.Unix(0, ns).UTC(), Severity: r.SeverityNumber, Text: r.SeverityText,
						Body: body, Event: r.EventName,
					})
				}
			}
		}
	})
	return all
}

func (c *collector) lines(file string, fn func([]byte)) {
	c.t.Helper()
	f, err := os.Open(c.path(file))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		fn(line)
	}
}

// await returns the records once cond holds for them.
func (c *collector) await(file, what string, cond func([]received) bool) []received {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		all := c.logs(file)
		if cond(all) {
			return all
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the collector has %d records in %s, and not %s\n%s", len(all), file, what, c.stderr.String())
		}
	}
}
