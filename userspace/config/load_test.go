package config

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// load runs Load with a file's text ("" for no file), environment and flags.
func load(t *testing.T, file string, env, flags map[string]string) (*Run, error) {
	t.Helper()
	given := maps.Clone(flags)
	if given == nil {
		given = map[string]string{}
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "limbo.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		given["config"] = path
	}
	return Load(given, lookup(env))
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestDefaultsAreTheContracts(t *testing.T) {
	got, err := load(t, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got.sources = nil
	want := Run{
		SynSent: 3 * time.Second, FinWait2: 30 * time.Second, CloseWait: 30 * time.Second, Closing: time.Minute,
		Output: OutputJSON, LogFileMaxSize: 100 << 20, MetricsAddr: "127.0.0.1:9890", Tick: 250 * time.Millisecond,
		Kernel:      SourceAuto,
		Established: 15 * time.Second, WarnPending: 128 << 20, WarnUndrained: 30 * time.Second, WarnFlushP99: 50 * time.Millisecond,
	}
	if !equal(got, &want) {
		t.Errorf("defaults\n got %+v\nwant %+v", *got, want)
	}
}

// equal compares without the sources.
func equal(a, b *Run) bool {
	x, y := *a, *b
	x.sources, y.sources = nil, nil
	return comparable(x) == comparable(y)
}

type flat struct {
	durations           [10]time.Duration
	output              Output
	logFile, addr, conf string
	ready               string
	logSize, pending    int64
	sizes               [3]int
	kernel              KernelSource
	pins                string
}

func comparable(r Run) flat {
	return flat{
		durations: [10]time.Duration{
			r.SynSent, r.FinWait2, r.CloseWait, r.Established, r.Closing, r.IdleAudit, r.WarnUndrained, r.WarnFlushP99, r.Tick, r.Duration,
		},
		output: r.Output, logFile: r.LogFile, addr: r.MetricsAddr, conf: r.ConfigFile, ready: r.ReadyFile,
		logSize: r.LogFileMaxSize, pending: r.WarnPending, sizes: [3]int{r.RingBytes, r.MaxPromoted, r.YoungSlots},
		kernel: r.Kernel, pins: r.PinPath,
	}
}

func TestPrecedence(t *testing.T) {
	const file = "close-wait: 11s\n"
	env := map[string]string{"TCPLIMBO_CLOSE_WAIT": "12s"}
	flags := map[string]string{"close-wait": "13s"}
	tests := []struct {
		name   string
		file   string
		env    map[string]string
		flags  map[string]string
		want   time.Duration
		source Source
	}{
		{"default", "", nil, nil, 30 * time.Second, FromDefault},
		{"file over default", file, nil, nil, 11 * time.Second, FromFile},
		{"environment over file", file, env, nil, 12 * time.Second, FromEnv},
		{"flag over environment and file", file, env, flags, 13 * time.Second, FromFlag},
		{"flag over file", file, nil, flags, 13 * time.Second, FromFlag},
		{"environment over default", "", env, nil, 12 * time.Second, FromEnv},
		{"flag over environment", "", env, flags, 13 * time.Second, FromFlag},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run, err := load(t, tt.file, tt.env, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			if run.CloseWait != tt.want || run.Source("close-wait") != tt.source {
				t.Errorf("got %v from %d, want %v from %d", run.CloseWait, run.Source("close-wait"), tt.want, tt.source)
			}
		})
	}
}

// TestEverySource sets every setting from each source to another value than
// its default and sees that it arrives.
func TestEverySource(t *testing.T) {
	values := map[string]string{
		"syn-sent": "1s", "fin-wait2": "2s", "close-wait": "0", "established": "7s", "idle-audit": "2h", "closing": "1h", "output": "console",
		"warn-pending": "1MiB", "warn-undrained": "3s", "warn-flush-p99": "4ms",
		"log-file": "/var/log/limbo.json", "log-file-max-size": "64k", "metrics-addr": "", "tick": "10ms",
		"source": "sockdiag", "pin-path": "/sys/fs/bpf/limbo",
		"ready-file": "/run/ready", "duration": "1m30s", "ring-bytes": "4096", "max-promoted": "64", "young-slots": "128", "stacks": "always",
		"pprof": ":6060", "capture-dir": "/var/lib/limbo",
		"cri-socket": "unix:///run/x.sock", "group-above": "7", "by": "stack",
		"journald": "on", "otlp-endpoint": "https://collector:4317",
		"sandbox": "off",
	}
	want := Run{
		SynSent: time.Second, FinWait2: 2 * time.Second, Established: 7 * time.Second, IdleAudit: 2 * time.Hour, Closing: time.Hour, Output: OutputConsole,
		LogFile: "/var/log/limbo.json", LogFileMaxSize: 64 << 10, Tick: 10 * time.Millisecond, ReadyFile: "/run/ready",
		Kernel: SourceSockDiag, PinPath: "/sys/fs/bpf/limbo",
		Duration: 90 * time.Second, RingBytes: 4096, MaxPromoted: 64, YoungSlots: 128, Stacks: flow.StacksAlways,
		Pprof: PprofAddress, PprofAddress: netip.MustParseAddrPort("127.0.0.1:6060"), CaptureDir: "/var/lib/limbo",
		Runtime: "/run/x.sock", GroupAbove: 7, By: "stack",
		Journald: true, OTLPEndpoint: "https://collector:4317",
		WarnPending: 1 << 20, WarnUndrained: 3 * time.Second, WarnFlushP99: 4 * time.Millisecond,
	}
	var file strings.Builder
	env := map[string]string{}
	for _, s := range Settings() {
		if s.Name == "config" {
			continue
		}
		value, ok := values[s.Name]
		if !ok {
			t.Fatalf("the test has no value for %s", s.Name)
		}
		if value == "" {
			value = "''"
		}
		file.WriteString(s.Name + ": " + value + "\n")
		env[s.Env()] = values[s.Name]
	}
	for name, got := range map[string]func() (*Run, error){
		"file":        func() (*Run, error) { return load(t, file.String(), nil, nil) },
		"environment": func() (*Run, error) { return load(t, "", env, nil) },
		"flags":       func() (*Run, error) { return load(t, "", nil, values) },
	} {
		run, err := got()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		run.ConfigFile = ""
		if !equal(run, &want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *run, want)
		}
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("tick: 1s"), 0o600); err != nil {
		t.Fatal(err)
	}
	run, err := Load(nil, lookup(map[string]string{"TCPLIMBO_CONFIG": path}))
	if err != nil {
		t.Fatal(err)
	}
	if run.Tick != time.Second || run.ConfigFile != path {
		t.Errorf("got tick %v and file %q", run.Tick, run.ConfigFile)
	}
}

func TestBadValues(t *testing.T) {
	const threshold = "; allowed: 0 (off) to 8760h, such as 30s"
	tests := []struct{ name, value, want string }{
		{"close-wait", "-3s", `--close-wait: "-3s" is negative` + threshold},
		{"syn-sent", "30", `--syn-sent: "30" has no unit (ms, s, m, h)` + threshold},
		{"fin-wait2", "soon", `--fin-wait2: "soon" is not a duration` + threshold},
		{"closing", "", `--closing: the duration is empty` + threshold},
		{"closing", "9000h", `--closing: "9000h" is too long` + threshold},
		{"closing", "99999999999h", `--closing: "99999999999h" is not a duration` + threshold},
		{"closing", "1s\n2s", `--closing: "1s\n2s" is not a duration` + threshold},
		{"tick", "0", `--tick: "0" is too short; allowed: 10ms to 1m, such as 250ms`},
		{"tick", "2m", `--tick: "2m" is too long; allowed: 10ms to 1m, such as 250ms`},
		{"duration", "-1s", `--duration: "-1s" is negative; allowed: 0 (no end) to 8760h, such as 10m`},
		{"output", "xml", `--output: "xml" is not known; allowed: json, console, none`},
		{"metrics-addr", "9890", `--metrics-addr: "9890" is not an address with a port; allowed: HOST:PORT such as 127.0.0.1:9890, :9890 for every address, '' for off`},
		{"metrics-addr", "localhost:http", `--metrics-addr: "localhost:http" has no port from 0 to 65535; allowed: HOST:PORT such as 127.0.0.1:9890, :9890 for every address, '' for off`},
		{"metrics-addr", ":65536", `--metrics-addr: ":65536" has no port from 0 to 65535; allowed: HOST:PORT such as 127.0.0.1:9890, :9890 for every address, '' for off`},
		{"log-file-max-size", "1KiB", `--log-file-max-size: "1KiB" is too small; allowed: 0 (never rotate) or at least 64KiB, such as 100MiB`},
		{"log-file-max-size", "big", `--log-file-max-size: "big" is not a size; allowed: 0 (never rotate) or at least 64KiB, such as 100MiB`},
		{"log-file-max-size", "-1", `--log-file-max-size: "-1" is negative; allowed: 0 (never rotate) or at least 64KiB, such as 100MiB`},
		{"log-file-max-size", "9999999999G", `--log-file-max-size: "9999999999G" is too large; allowed: 0 (never rotate) or at least 64KiB, such as 100MiB`},
		{"warn-pending", "-1", `--warn-pending: "-1" is negative; allowed: 0 (off) or a size, such as 128MiB`},
		{"ring-bytes", "5000", `--ring-bytes: "5000" does not fit; allowed: 0 (chosen) or a power of two from 4096 to 268435456`},
		{"ring-bytes", "2048", `--ring-bytes: "2048" does not fit; allowed: 0 (chosen) or a power of two from 4096 to 268435456`},
		{"young-slots", "x", `--young-slots: "x" is not a size; allowed: 0 (chosen) or a power of two from 64 to 1048576`},
		{"max-promoted", "-1", `--max-promoted: "-1" does not fit; allowed: 0 (chosen) or a number up to 4194304`},
		{"log-file", "a\x00b", `--log-file: "a\x00b" is not a path`},
	}
	for _, tt := range tests {
		_, err := load(t, "", nil, map[string]string{tt.name: tt.value})
		if err == nil || err.Error() != tt.want {
			t.Errorf("--%s=%q:\n got %v\nwant %s", tt.name, tt.value, err, tt.want)
		}
	}
}

func TestErrorsNameTheEnvironmentVariable(t *testing.T) {
	_, err := load(t, "", map[string]string{"TCPLIMBO_FIN_WAIT2": "x"}, nil)
	const want = `environment variable TCPLIMBO_FIN_WAIT2: "x" is not a duration; allowed: 0 (off) to 8760h, such as 30s`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAllKindsOff(t *testing.T) {
	off := map[string]string{"syn-sent": "0", "fin-wait2": "0s", "close-wait": "0", "established": "0", "closing": "0ms"}
	_, err := load(t, "", nil, off)
	if err == nil || !strings.Contains(err.Error(), "are all 0") {
		t.Errorf("got %v, want an error about all kinds being off", err)
	}
	delete(off, "closing")
	run, err := load(t, "", nil, off)
	if err != nil {
		t.Fatal(err)
	}
	if kinds := run.Kinds(); len(kinds) != 1 || kinds[0] != finding.ClosingStalled {
		t.Errorf("kinds %v, want closing alone", kinds)
	}
}

func TestEffectiveTick(t *testing.T) {
	tests := []struct {
		tick, synSent string
		want          time.Duration
	}{
		{"250ms", "3s", 250 * time.Millisecond},
		{"2s", "3s", 1500 * time.Millisecond},
		{"250ms", "100ms", 50 * time.Millisecond},
		{"250ms", "1ms", 10 * time.Millisecond},
		{"20s", "0", 7500 * time.Millisecond}, // the next smallest is 15s
	}
	for _, tt := range tests {
		run, err := load(t, "", nil, map[string]string{"tick": tt.tick, "syn-sent": tt.synSent})
		if err != nil {
			t.Fatal(err)
		}
		if got := run.EffectiveTick(); got != tt.want {
			t.Errorf("tick %s, syn-sent %s: got %v, want %v", tt.tick, tt.synSent, got, tt.want)
		}
	}
}

func TestThreshold(t *testing.T) {
	run, err := load(t, "", nil, map[string]string{"close-wait": "5s"})
	if err != nil {
		t.Fatal(err)
	}
	if got := run.Rules.Base[finding.CloseWaitSilent]; got != 5*time.Second {
		t.Errorf("close-wait threshold %v", got)
	}
	if got := run.Rules.Base[finding.EstablishedStalled]; got != 15*time.Second {
		t.Errorf("established threshold %v", got)
	}
	if got := run.Rules.Base[finding.KindNone]; got != 0 {
		t.Errorf("what is no kind has the threshold %v", got)
	}
}

func TestSettingsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Name] || s.Name == "" || s.Usage == "" || s.Group == "" || s.Placeholder == "" || s.set == nil {
			t.Errorf("setting %+v is doubled or not complete", s)
		}
		seen[s.Name] = true
	}
	if s := (&Setting{Name: "log-file-max-size"}); s.Env() != "TCPLIMBO_LOG_FILE_MAX_SIZE" {
		t.Errorf("environment variable is %s", s.Env())
	}
}
