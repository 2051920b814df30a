package rig

import (
	"strings"
	"testing"
	"time"
)

const (
	transition = `{"time":"2026-03-09T07:05:04.120000000Z","event.name":"tcplimbo.transition","network.connection.state":"close_wait","tcplimbo.socket.netns":4026532200,"tcplimbo.tcp.state.previous":"established","thread.name":"x"}` + "\n"
	opened     = `{"event.name":"tcplimbo.finding","tcplimbo.finding.kind":"close_wait_silent","tcplimbo.finding.status":"open"}` + "\n"
)

func TestValue(t *testing.T) {
	for _, tt := range []struct{ line, key, want string }{
		{transition, "event.name", "tcplimbo.transition"},
		{transition, "tcplimbo.tcp.state.previous", "established"},
		{transition, "name", ""},
		{transition, "tcplimbo.socket.netns", ""}, // a number
		{`{"a":"b`, "a", ""},
		{"", "a", ""},
	} {
		if got := Value([]byte(tt.line), tt.key); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.key, got, tt.want)
		}
	}
}

func TestFilters(t *testing.T) {
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(transition) }
	in := TransitionIn(4026532200)
	for _, tt := range []struct {
		name string
		keep func([]byte) bool
		line string
		want bool
	}{
		{"a transition of the namespace", in, transition, true},
		{"another namespace", in, with("4026532200", "4026531840"), false},
		{"a child of a listener", in, with("close_wait", "syn_recv", "established", "listen"), true},
		{"a listener that begins", in, with("close_wait", "listen", "established", "closed"), false},
		{"a listener that ends", in, with("close_wait", "closed", "established", "listen"), false},
		{"a retransmission", in, with(`"tcplimbo.tcp.state.previous":"established"`, `"tcplimbo.tcp.retransmit":true`), false},
		{"a loss", Event("tcplimbo.loss"), `{"event.name":"tcplimbo.loss"}`, true},
		{"no loss", Event("tcplimbo.loss"), transition, false},
		{"an open finding", OpenFinding("close_wait_silent"), opened, true},
		{"a resolved one", OpenFinding("close_wait_silent"), strings.Replace(opened, "open", "resolved", 1), false},
		{"another kind", OpenFinding("syn_sent_stalled"), opened, false},
		{"the load's connection", Mentions, "1 x 127.0.0.1:1 127.0.1.1:2 1 2", true},
		{"another connection", Mentions, "1 x 127.0.0.1:1 127.0.0.1:2 1 2", false},
	} {
		if got := tt.keep([]byte(tt.line)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestCountLines(t *testing.T) {
	all := func([]byte) bool { return true }
	for _, tt := range []struct {
		text string
		want int
	}{{"", 0}, {"a\n", 1}, {"a\nb\nc", 2}, {"\n\n", 2}} {
		if got, err := countLines(strings.NewReader(tt.text), all); err != nil || got != tt.want {
			t.Errorf("%q: got %d, %v; want %d: what has no end is not a line", tt.text, got, err, tt.want)
		}
	}
	if _, err := countLines(strings.NewReader(strings.Repeat("x", 2<<20)), all); err == nil {
		t.Error("a line of 2 MB was taken")
	}
}

func TestSumMetric(t *testing.T) {
	const text = `# HELP lost_total Records lost.
# TYPE lost_total counter
lost_total{stage="ring buffer"} 3
lost_total{stage="walk"} 1.5e+01
lost_total_of_another{stage="walk"} 100
plain 7
broken{a="b"} many
`
	for _, tt := range []struct {
		name string
		want float64
		ok   bool
	}{{"lost_total", 18, true}, {"plain", 7, true}, {"absent", 0, false}, {"broken", 0, false}} {
		got, err := sumMetric(strings.NewReader(text), tt.name)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestSum(t *testing.T) {
	s := time.Second
	batches := []batch{
		{Start: 0, End: 2 * s, Connections: 1, Elapsed: s, CPU: s},
		{Start: 2 * s, End: 4 * s, Connections: 10, Elapsed: 2 * s, CPU: 3 * s},
		{Start: 4 * s, End: 6 * s, Connections: 100, Elapsed: s, CPU: s},
		{Start: 6 * s, End: 9 * s, Connections: 1000, Elapsed: s, CPU: s},
	}
	got := sum(batches, 2*s, 8*s)
	if want := (Done{Connections: 110, Elapsed: 3 * s, CPU: 4 * s}); got != want {
		t.Errorf("got %+v, want %+v: only what lies wholly within", got, want)
	}
	if got.Cost() != 4*s/110 {
		t.Errorf("cost: got %s", got.Cost())
	}
	if got := (Done{Connections: 30, Elapsed: 2 * s}).Rate(); got != 15 {
		t.Errorf("rate: got %v, want 15", got)
	}
}

func TestTail(t *testing.T) {
	var out tail
	for range 3000 {
		if n, err := out.Write([]byte("ab\xff")); n != 3 || err != nil {
			t.Fatal(n, err)
		}
	}
	if s := out.String(); len(s) > tailBytes || !strings.HasSuffix(s, "ab?") {
		t.Errorf("got %d bytes ending in %q", len(s), s[len(s)-3:])
	}
}
