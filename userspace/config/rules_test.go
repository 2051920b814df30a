package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const goodRules = `# a comment
close-wait: 1m
rules:
  - match:
      executable: [nginx, /opt/*/java]
      pod-labels: {app.kubernetes.io/name: [web, "api-*"]}
      peer-port: [5432, 6000-6999]
      kind: close_wait_silent
    close-wait: 5s
  - match: {cidr: [10.0.0.0/8, "::ffff:192.0.2.0/120"], namespace: kube-*}
    ignore: true
  - match: {cgroup: /system.slice/*}
    ignore: false
`

func TestRules(t *testing.T) {
	run, err := load(t, goodRules, nil, map[string]string{"closing": "10m"})
	if err != nil {
		t.Fatal(err)
	}
	list := run.Rules.Rules
	if len(list) != 3 || run.Rules.Base[finding.CloseWaitSilent] != time.Minute || run.Rules.Base[finding.ClosingStalled] != 10*time.Minute {
		t.Fatalf("got %+v", run.Rules)
	}
	m := list[0].Match
	if len(m.Executables) != 2 || m.Labels[0].Values[1] != "api-*" || m.PeerPorts[1].Last != 6999 || m.Kinds[0] != finding.CloseWaitSilent ||
		*list[0].Threshold[finding.CloseWaitSilent] != 5*time.Second || list[0].Line != 4 {
		t.Errorf("got %+v", list[0])
	}
	if got := list[1].Match.CIDRs[1].String(); got != "192.0.2.0/24" || !list[1].Ignore || list[2].Ignore {
		t.Errorf("got %s, %+v", got, list[1:])
	}
	if got := run.EffectiveTick(); got != 250*time.Millisecond {
		t.Errorf("tick %v", got)
	}
}

// Where several rules say the same, the smallest threshold sets the tick.
func TestRulesLowerTheTick(t *testing.T) {
	run, err := load(t, "established: 0\nrules: [{match: {port: 80}, established: 100ms}]", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := run.EffectiveTick(); got != 50*time.Millisecond || len(run.Kinds()) != 5 {
		t.Errorf("tick %v, kinds %v", got, run.Kinds())
	}
}

func TestRuleErrorsHavePositions(t *testing.T) {
	const head = "rules:\n- match: {port: 80}\n  ignore: true\n"
	tests := []struct{ name, text, want string }{
		{"no list", "rules: yes\n", "1:8: rules: expected a list of rules"},
		{"null", "rules:\n", "1:7: rules: expected a list of rules"},
		{"twice", "rules: []\nrules: []\n", `2:1: key "rules" stands on line 1 already`},
		{"no rule", "rules: [5]\n", "1:9: expected a rule"},
		{"unknown key", head + "- mach: {}\n", `4:3: unknown key "mach" of a rule; did you mean "match"?`},
		{"key twice", head + "- match: {port: 81}\n  match: {port: 81}\n", `5:3: key "match" stands on line 4 already`},
		{"no match", "rules:\n- ignore: true\n", `2:3: the rule has no "match"`},
		{"empty match", "rules:\n- match: {}\n  ignore: true\n", "2:10: match asks for nothing"},
		{"null match", "rules:\n- match:\n  ignore: true\n", "2:9: match asks for nothing"},
		{"unknown condition", "rules:\n- match:\n    prot: 1\n  ignore: true\n", `3:5: unknown key "prot" of match; did you mean "port"?`},
		{"nothing changed", "rules:\n- match: {port: 1}\n", "2:3: the rule changes nothing"},
		{"empty list", "rules:\n- match: {port: []}\n  ignore: true\n", "2:17: port: the list is empty, so the rule can never match"},
		{"empty labels", "rules:\n- match: {pod-labels: {}}\n  ignore: true\n", "2:23: pod-labels: the list is empty"},
		{"bad network", "rules:\n- match:\n    peer-cidr: [10.0.0.0/8, 10.0.0.0/33]\n  ignore: true\n", `3:29: peer-cidr: "10.0.0.0/33" is not a network; allowed:`},
		{"bad port", "rules:\n- match: {port: 65536}\n  ignore: true\n", `2:17: port: "65536" is no port`},
		{"port 0", "rules:\n- match: {local-port: 0}\n  ignore: true\n", `2:23: local-port: "0" is no port`},
		{"range the wrong way", "rules:\n- match: {port: 9-1}\n  ignore: true\n", `2:17: port: "9-1" ends before it begins, so the rule can never match`},
		{"bad kind", "rules:\n- match: {kind: close-wait}\n  ignore: true\n", `2:17: kind: "close-wait" is not a kind; allowed: syn_sent_stalled`},
		{"bad duration", head + "- match: {port: 1}\n  close-wait: 5\n", `5:15: close-wait: "5" has no unit`},
		{"bad switch", "rules:\n- match: {port: 1}\n  ignore: 1\n", `3:11: ignore: "1" is not known; allowed: true, false`},
		{"namespace that cannot be", "rules:\n- match: {namespace: Shop}\n  ignore: true\n", `2:22: namespace: "Shop" is no pattern for a namespace`},
		{"cgroup that cannot be", "rules:\n- match: {cgroup: kubepods}\n  ignore: true\n", `2:19: cgroup: "kubepods" is no pattern for a cgroup's path`},
		{"path that cannot be", "rules:\n- match: {executable: bin/java}\n  ignore: true\n", `2:23: executable: "bin/java" is no pattern for a whole path`},
		{"label that cannot be", "rules:\n- match: {pod-labels: {-a: b}}\n  ignore: true\n", `2:24: pod-labels: "-a" is not the key of a label`},
		{"contradiction", "rules:\n- match: {local-cidr: 10.0.0.0/8, peer-cidr: \"::/0\"}\n  ignore: true\n", "2:3: the rule can never match: local-cidr and peer-cidr"},
		{"ignored threshold", "rules:\n- match: {port: 1}\n  ignore: true\n  closing: 1s\n", "4:3: closing has no effect: the rule ignores"},
		{"threshold of another kind", "rules:\n- match: {kind: close_wait_silent}\n  closing: 1s\n", "3:3: closing has no effect: the rule matches other kinds only; add closing_stalled"},
		{"shadowed", head + "- match: {local-port: 80, executable: java}\n  ignore: false\n", "4:3: the rule can never match: the one on line 2 comes first"},
		{"shadowed alias", "rules: [&a {match: {port: 1}, ignore: true}, *a]\n", "1:46: the rule can never match"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := newLoader().yaml("limbo.yaml", []byte(tt.text))
			if err == nil || !strings.HasPrefix(err.Error(), "limbo.yaml:"+tt.want) {
				t.Errorf("got  %v\nwant limbo.yaml:%s", err, tt.want)
			}
		})
	}
	for _, text := range []string{
		"rules:\n" + strings.Repeat("- match: {port: 1}\n  ignore: true\n", maxRules+1),
		"rules: [{match: {port: [" + strings.Repeat("1, ", maxValues) + "1]}, ignore: true}]",
		"rules: [{match: {executable: " + strings.Repeat("a", maxText+1) + "}, ignore: true}]",
	} {
		err := newLoader().yaml("limbo.yaml", []byte(text))
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("more than the limit allows: %v", err)
		}
	}
}

// What is printed gives the same when it is read.
func TestPrintedConfigurationIsTheSame(t *testing.T) {
	run, err := load(t, goodRules, map[string]string{"TCPLIMBO_LOG_FILE": "/var/log/a #b: c"}, map[string]string{"tick": "20s", "ring-bytes": "1MiB", "ready-file": "7"})
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := run.WriteYAML(&first); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"close-wait: 1m # file\n", "syn-sent: 3s # default\n", "log-file: '/var/log/a #b: c' # environment\n",
		"tick: 20s # flag; 1.5s is used, half of the smallest threshold\n", "ring-bytes: 1MiB # flag\n",
		"group-above: 20 # default\n", "idle-audit: 0 # default\n", "ready-file: \"7\" # flag\n", "peer-port: [5432, 6000-6999]\n",
	} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("no %q in\n%s", want, first.String())
		}
	}
	if strings.Contains(first.String(), "max-promoted") {
		t.Error("a hidden setting that nobody gave is shown")
	}
	again, err := load(t, first.String(), nil, nil)
	if err != nil {
		t.Fatalf("reading what was printed: %v\n%s", err, first.String())
	}
	if err := again.WriteYAML(&second); err != nil {
		t.Fatal(err)
	}
	plain := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			value, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
			if !strings.HasPrefix(value, "#") {
				b.WriteString(value + "\n")
			}
		}
		return b.String()
	}
	if plain(first.String()) != plain(second.String()) {
		t.Errorf("first\n%s\nthen\n%s", first.String(), second.String())
	}
}

func TestUpdate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limbo.yaml")
	get := func(text string) *Run {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run, err := Load(map[string]string{"closing": "9m", "config": file}, func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	before := get("close-wait: 10s\nestablished: 0\nlog-file: a\n")
	tests := []struct {
		name, text string
		restart    string
		check      func(*Run) bool
	}{
		{"a threshold", "close-wait: 20s\nestablished: 0\nlog-file: a\n", "", func(r *Run) bool { return r.CloseWait == 20*time.Second }},
		{"back to a default", "established: 0\nlog-file: a\n", "", func(r *Run) bool { return r.CloseWait == 30*time.Second && r.Source("close-wait") == FromDefault }},
		{"tick and rules", "close-wait: 10s\nestablished: 0\nlog-file: a\ntick: 1s\nidle-audit: 1h\nrules: [{match: {port: 1}, close-wait: 1s}]\n", "", func(r *Run) bool {
			return r.EffectiveTick() == 500*time.Millisecond && len(r.Rules.Rules) == 1 && r.IdleAudit == time.Hour
		}},
		{"what needs a restart", "close-wait: 11s\nestablished: 0\nmetrics-addr: :1\noutput: none\n", "output log-file metrics-addr", func(r *Run) bool {
			return r.LogFile == "a" && r.Output == OutputJSON && r.CloseWait == 11*time.Second && r.Source("output") == FromDefault
		}},
		{"a kind turned on", "close-wait: 10s\nlog-file: a\n", "established", func(r *Run) bool { return r.Established == 0 && len(r.Kinds()) == 4 }},
		{"a kind turned off", "close-wait: 0\nestablished: 0\nlog-file: a\n", "close-wait", func(r *Run) bool { return r.CloseWait == 10*time.Second && len(r.Kinds()) == 4 }},
		{"a kind turned on by a rule", "close-wait: 10s\nestablished: 0\nlog-file: a\nrules: [{match: {port: 1}, established: 1s, close-wait: 1s}]\n", "established", func(r *Run) bool {
			return len(r.Kinds()) == 4 && *r.Rules.Rules[0].Threshold[finding.CloseWaitSilent] == time.Second
		}},
		{"a kind for some only", "close-wait: 0\nestablished: 0\nlog-file: a\nrules: [{match: {port: 1}, close-wait: 1s}]\n", "", func(r *Run) bool {
			return r.CloseWait == 0 && r.Rules.Base[finding.CloseWaitSilent] == 0 && len(r.Kinds()) == 4
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := get(tt.text)
			merged, restart := before.Update(next)
			if got := strings.Join(restart, " "); got != tt.restart || !tt.check(merged) {
				t.Errorf("restart %q, want %q; merged %+v", got, tt.restart, *merged)
			}
			if merged.Closing != 9*time.Minute || merged.Rules.Base[finding.ClosingStalled] != 9*time.Minute {
				t.Errorf("a flag lost: closing %v", merged.Closing)
			}
			// Back again: the first answer must not have changed what it was made of.
			back, restart := merged.Update(before)
			if len(restart) > 0 || back.CloseWait != 10*time.Second || back.Rules.Rules != nil {
				t.Errorf("back: restart %q, %+v", restart, *back)
			}
		})
	}
}

// Every key of the file is in the schema, and nothing else.
func TestSchema(t *testing.T) {
	var b bytes.Buffer
	if err := WriteSchema(&b); err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct {
			Items struct {
				Properties map[string]struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		if _, ok := schema.Properties[s.Name]; ok == (s.Name == configName) {
			t.Errorf("%s is in the schema: %v", s.Name, ok)
		}
	}
	if got, want := len(schema.Properties), len(Settings()); got != want { // rules instead of config
		t.Errorf("%d keys, want %d", got, want)
	}
	rule := schema.Properties[rulesName].Items.Properties
	if got, want := len(rule), len(ruleKeys()); got != want {
		t.Errorf("%d keys of a rule, want %d", got, want)
	}
	if got, want := len(rule[matchName].Properties), len(conditions()); got != want {
		t.Errorf("%d conditions, want %d", got, want)
	}
}
