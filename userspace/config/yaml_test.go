package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestYAMLErrorsHavePositions(t *testing.T) {
	const threshold = "; allowed: 0 (off) to 8760h, such as 30s"
	tests := []struct{ name, text, want string }{
		{"unknown key", "tick: 1s\n  \nclose-wiat: 3s\n", `3:1: unknown key "close-wiat"; did you mean "close-wait"?`},
		{"unlike any key", "zzzzzz: 3s\n", "1:1: unknown key \"zzzzzz\"; `tcplimbo help run` lists the keys"},
		{"key of nothing", "kernel-path: /x\n", "1:1: unknown key \"kernel-path\"; `tcplimbo help run` lists the keys"},
		{"underscore", "close_wait: 3s\n", `1:1: unknown key "close_wait"; did you mean "close-wait"?`},
		{"bad value", "# a comment\nclose-wait:   -3s\n", `2:15: close-wait: "-3s" is negative` + threshold},
		{"no unit", "close-wait: 30\n", `1:13: close-wait: "30" has no unit (ms, s, m, h)` + threshold},
		{"list", "close-wait: [3s]\n", "1:13: close-wait: expected a single value"},
		{"nested", "close-wait:\n  warn: 3s\n", "2:3: close-wait: expected a single value"},
		{"no value", "close-wait:\n", "1:12: close-wait: the value is missing; write '' for an empty one"},
		{"twice", "tick: 1s\ntick: 2s\n", `2:1: key "tick" stands on line 1 already`},
		{"itself", "config: other.yaml\n", `1:1: "config" cannot stand in the file itself; use --config`},
		{"merge key", "<<: {tick: 1s}\n", "1:1: unknown key \"<<\"; `tcplimbo help run` lists the keys"},
		{"complex key", "? [a, b]\n: 1s\n", "1:3: a key must be a plain word"},
		{"not a mapping", "- close-wait\n", `1:1: expected lines such as "close-wait: 30s"`},
		{"plain text", "hello\n", `1:1: expected lines such as "close-wait: 30s"`},
		{"two documents", "tick: 1s\n---\ntick: 2s\n", "2:1: a second document; only one is read"},
		{"second after empty", "---\n---\ntick: 2s\n", "2:1: a second document; only one is read"},
		{"tab", "tick: 1s\n\tclose-wait: 3s\n", "2:2: not valid YAML: found a tab character that violates indentation"},
		{"unclosed", "tick: 1s\noutput: \"json\n", "2:1: not valid YAML: found unexpected end of stream"},
		{"broken second document", "tick: 1s\n---\n[\n", "3:1: not valid YAML: did not find expected node content"},
		{"binary", "\x00\x01", "1:1: not valid YAML: control characters are not allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := newLoader().yaml("limbo.yaml", []byte(tt.text))
			if want := "limbo.yaml:" + tt.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestYAMLAccepts(t *testing.T) {
	for _, text := range []string{
		"", "\n", "# only a comment\n", "---\n", "null\n", "{}\n", "tick: 1s", "tick: '1s'", "---\ntick: 1s\n...\n",
		"{tick: 1s, \"output\": json}", "syn-sent: 0", "metrics-addr: ''", "tick: &t 1s\nduration: *t\n", "\ufefftick: 1s\n",
	} {
		err := newLoader().yaml("limbo.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.yaml")
	tests := []struct{ path, want string }{
		{missing, "--config: reading configuration: open " + missing + ": no such file or directory; name a readable YAML file"},
		{dir, "--config: reading configuration: read " + dir + ": is a directory; name a readable YAML file"},
		{large, `--config: reading configuration: "` + large + `" is larger than 1 MiB; name a readable YAML file`},
	}
	for _, tt := range tests {
		_, err := Load(map[string]string{"config": tt.path}, lookup(nil))
		if err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"close-wait: 30s\n", "tick: &a 1s\nduration: *a\n", "? [a]\n: b\n", "a: *b", "--- !!binary Zm9v\n", "tick: !!null\n",
		"<<: *x\n", "\x00", "{{{{", "- - - -", "metrics-addr: '[::1]:0'\n", "log-file-max-size: 9223372036854775807k\n",
		"%YAML 1.1\n---\ntick: 1s\n", "output: |\n  json\n", "&a a: *a\n",
		"rules:\n- match: {executable: [a, b], port: 1-2, pod-labels: {a: b}}\n  close-wait: 1s\n- match: {cidr: ::1/128}\n  ignore: true\n",
		"rules: [{match: {kind: close_wait_silent, peer-port: [80, 90]}, ignore: false}]\n", "rules: [&a {match: {cgroup: /x*}, ignore: true}, *a]",
		"*" + strings.Repeat("3", 1000), // an anchor that the parser cites whole
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader()
		run := l.run
		if err := l.defaults(); err != nil {
			t.Fatal(err)
		}
		if err := l.yaml("limbo.yaml", text); err != nil {
			checkMessage(t, err.Error())
			return
		}
		for k, threshold := range run.thresholds() {
			if threshold < 0 || threshold > maxDuration {
				t.Errorf("threshold %d is %v", k, threshold)
			}
		}
		if run.EffectiveTick() < minTick || run.RingBytes&(run.RingBytes-1) != 0 || run.LogFileMaxSize < 0 {
			t.Errorf("accepted a configuration that cannot be: %+v", *run)
		}
	})
}

// checkMessage sees that an error names file and line and quotes what it cites.
func checkMessage(t *testing.T, message string) {
	t.Helper()
	if !strings.HasPrefix(message, "limbo.yaml:") {
		t.Errorf("error without a position: %q", message)
	}
	if !utf8.ValidString(message) || strings.ContainsAny(message, "\n\r\x1b\x00") {
		t.Errorf("error is not one clean line: %q", message)
	}
	if len(message) > 512 {
		t.Errorf("error has %d bytes", len(message))
	}
}
