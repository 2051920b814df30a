package deploytest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/alloy/syntax/parser"
	"go.yaml.in/yaml/v2"
)

var pipelines = filepath.Join(root, "docs", "pipelines")

// recordFinding runs an agent that writes to a file until a leak was found and
// has ended, and returns the file and its lines.
func recordFinding(t *testing.T) (string, []map[string]any) {
	t.Helper()
	needRoot(t)
	file := filepath.Join(t.TempDir(), "findings.json")
	agent, _ := runAgent(t, append(onlyOurs(t), "-o", "none", "--log-file", file)...)
	leaked := leakSockets(t, "close-wait-ignored", 2)
	has := func(status string) string {
		if text, _ := os.ReadFile(file); !strings.Contains(string(text), `"tcplimbo.finding.status":"`+status+`"`) {
			return "no finding is " + status
		}
		return ""
	}
	until(t, 30*time.Second, func() string { return has("open") })
	leaked.end()
	until(t, 30*time.Second, func() string { return has("resolved") })
	agent.stop()
	var lines []map[string]any
	for line := range strings.Lines(read(t, file)) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, record)
	}
	return file, lines
}

// TestRsyslog runs the snippet as it stands, with other files.
func TestRsyslog(t *testing.T) {
	file, lines := recordFinding(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.log")
	snippet := strings.NewReplacer("/var/log/tcplimbo/findings.json", file, "/var/log/tcplimbo-findings.log", out).
		Replace(read(t, filepath.Join(pipelines, "rsyslog.conf")))
	config := filepath.Join(dir, "rsyslog.conf")
	write(t, config, fmt.Sprintf("global(workDirectory=%q)\n%s", dir, snippet))
	startPart(t, "rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid"))
	until(t, 30*time.Second, func() string {
		text, _ := os.ReadFile(out)
		if got := strings.Count(string(text), "\n"); got != len(lines) {
			return fmt.Sprintf("rsyslog wrote %d lines of %d: %s", got, len(lines), text)
		}
		for _, l := range lines {
			if l["event.name"] != "tcplimbo.finding" {
				continue
			}
			want := fmt.Sprintf("%v %v %v %v %v %v\n", l["time"], l["level"], l["tcplimbo.finding.kind"], l["tcplimbo.finding.status"],
				l["tcplimbo.finding.id"], l["message"])
			if !strings.Contains(string(text), want) {
				return fmt.Sprintf("wanted %q in:\n%s", want, text)
			}
		}
		return ""
	})
}

// collectorBinary returns the collector that the program's own tests built, or builds
// one for them and others: some minutes.
func collectorBinary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "tcplimbo")
	built, err := filepath.Glob(filepath.Join(dir, "collector-*"))
	built = slices.DeleteFunc(built, func(name string) bool { return filepath.Ext(name) != "" })
	if err == nil && len(built) > 0 {
		return built[0]
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "collector-deploy")
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", made, ".")
	build.Dir, build.Env = filepath.Join(root, ".ci", "collector"), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("the OpenTelemetry Collector (%v: %s)", err, out))
	}
	if err := os.Rename(made, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCollectorReads runs the snippet with another file and exporter in a real
// collector.
func TestCollectorReads(t *testing.T) {
	collector := collectorBinary(t)
	file, lines := recordFinding(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.json")
	snippet := strings.NewReplacer(
		"/var/log/tcplimbo/findings.json", file,
		"  otlp:\n    endpoint: collector.example.net:4317", "  file: {path: "+out+", flush_interval: 100ms}",
		"exporters: [otlp]", "exporters: [file]",
		"service:\n", "service:\n  telemetry: {metrics: {level: none}}\n",
	).Replace(read(t, filepath.Join(pipelines, "otel-collector.yaml")))
	config := filepath.Join(dir, "config.yaml")
	write(t, config, snippet)
	start(t, collector, "--config", "file:"+config)
	until(t, 30*time.Second, func() string {
		text, _ := os.ReadFile(out)
		for _, l := range lines {
			when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(l["time"]))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := json.Marshal(l["message"])
			for _, want := range []string{
				fmt.Sprintf(`"timeUnixNano":"%d"`, when.UnixNano()),
				fmt.Sprintf(`"body":{"stringValue":%s}`, body),
			} {
				if !strings.Contains(string(text), want) {
					return fmt.Sprintf("wanted %s in:\n%s", want, text)
				}
			}
		}
		return ""
	})
}

func TestAlloyParses(t *testing.T) {
	if _, err := parser.ParseFile("alloy.alloy", []byte(read(t, filepath.Join(pipelines, "alloy.alloy")))); err != nil {
		t.Error(err)
	}
}

// TestPipelineKeys: each key that a snippet names is one that a finding has.
func TestPipelineKeys(t *testing.T) {
	known := read(t, filepath.Join(root, "userspace", "sink", "jsonline", "testdata", "close_wait_eof_ignored.json")) +
		read(t, filepath.Join(root, "userspace", "sink", "jsonline", "testdata", "resolved.json"))
	files, err := os.ReadDir(pipelines)
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	overview := read(t, filepath.Join(pipelines, "README.md"))
	for _, f := range files {
		text := read(t, filepath.Join(pipelines, f.Name()))
		if f.Name() != "README.md" && !strings.Contains(overview, "("+f.Name()+")") {
			t.Errorf("README.md does not name %s", f.Name())
		}
		if filepath.Ext(f.Name()) == ".yaml" {
			if err := yaml.UnmarshalStrict([]byte(text), new(any)); err != nil {
				t.Errorf("%s: %v", f.Name(), err)
			}
		}
		for _, key := range regexp.MustCompile(`tcplimbo\.(finding|network|socket|tcp)\.[a-z_]+`).FindAllString(text, -1) {
			if !strings.Contains(known, `"`+key+`"`) {
				t.Errorf("%s names %s, which no record has", f.Name(), key)
			}
		}
	}
}
