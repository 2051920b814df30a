package main

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// TestMain lets this binary be the load as well, as the command itself is.
func TestMain(m *testing.M) {
	rig.RunLoad()
	workload.RunChild()
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want options
		err  string
	}{
		{"nothing", nil, options{patience: time.Minute}, ""},
		{"patience", []string{"-patience", "0"}, options{}, ""},
		{
			"all flags",
			[]string{"-quick", "-json", "-run", "p3, P1,peers", "-write", "x.md"},
			options{quick: true, json: true, only: []string{"P3", "P1", "peers"}, write: "x.md", patience: time.Minute},
			"",
		},
		{"unknown measurement", []string{"-run", "P99"}, options{}, `unknown measurement "P99"`},
		{"argument", []string{"P1"}, options{}, `unexpected argument "P1"`},
		{"unknown flag", []string{"-fast"}, options{}, "usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.args, io.Discard)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got.quick != tt.want.quick || got.json != tt.want.json || got.write != tt.want.write || got.patience != tt.want.patience ||
				!slices.Equal(got.only, tt.want.only) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestRunUsage(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		code  int
		lines int
	}{{[]string{"-run", "P99"}, 2, 1}, {[]string{"extra"}, 2, 1}} {
		var out, errs bytes.Buffer
		if code := run(tt.args, &out, &errs); code != tt.code || strings.Count(errs.String(), "\n") != tt.lines || out.Len() > 0 {
			t.Errorf("%v: got code %d, %q on stderr", tt.args, code, errs.String())
		}
	}
}

func TestNames(t *testing.T) {
	want := []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "peers"}
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWanted(t *testing.T) {
	m := measurement{ids: []string{"P1", "P3"}}
	long := measurement{ids: []string{"P11"}, asked: true}
	if !m.wanted(nil) || !m.wanted([]string{"P3"}) || m.wanted([]string{"P2"}) {
		t.Error("a measurement runs if one of its budgets is asked for")
	}
	if long.wanted(nil) || !long.wanted([]string{"P11"}) {
		t.Error("a long measurement runs only if it is named")
	}
}

func TestDifference(t *testing.T) {
	c := &costs{names: map[ebpf.ProgramID]string{1: "a", 2: "b"}}
	at := func(aRuns, aTime, bRuns, bTime, runs0, time0 uint64) runs {
		return runs{
			1: {Runs: aRuns, Time: time.Duration(aTime)}, 2: {Runs: bRuns, Time: time.Duration(bTime)},
			0: host.Program{Runs: runs0, Time: time.Duration(time0)},
		}
	}
	w, err := c.difference(at(10, 1000, 1, 50, 10, 500), at(110, 13000, 2, 1050, 110, 6500))
	if err != nil || w.program["a"] != 120 || w.program["b"] != 10 || w.empty != 60 || w.all() != 130 || w.runs != 1.01 {
		t.Errorf("got %+v, %v", w, err)
	}
	if _, err := c.difference(at(1, 1, 1, 1, 5, 5), at(2, 2, 2, 2, 5, 5)); err == nil {
		t.Error("no transitions, but no error")
	}
	c.windows, c.calm = []costWindow{w, {program: map[string]float64{"a": 9999}, disturbed: "a build"}}, 3
	row := c.row(1, "off", 90)
	if row.Verdict != report.OK || row.Values["ns"] != 70 || math.Abs(row.Values["ns_less_each_run"]-69.4) > 1e-9 {
		t.Errorf("got %+v; the disturbed window must not count", row)
	}
}

func TestComparisonRows(t *testing.T) {
	c := &comparison{agent: 200 * time.Millisecond, transitions: 10e6, disturbances: map[string]int{"a build": 1}}
	for _, with := range []float64{96, 98, 100} {
		c.rate = append(c.rate, sample.Pair{Without: 100, With: with})
		c.cost = append(c.cost, sample.Pair{Without: 10, With: 11})
	}
	c.rate = append(c.rate, sample.Pair{Without: 100, With: 1, Disturbed: true})
	if r := c.rateRow(1); r.Verdict != report.OK || r.Reached != "0.980 (0.970–0.990)" || len(r.Notes) != 2 {
		t.Errorf("P1: got %+v", r)
	}
	if r := c.agentRow(2); r.Verdict != report.OK || r.Values["cpu_seconds"] != 0.02 {
		t.Errorf("P3: got %+v", r)
	}
	if r := c.lossRow(1); r.Verdict != report.OK {
		t.Errorf("P4: got %+v", r)
	}
	c.lost = 1
	if r := c.lossRow(1); r.Verdict != report.Miss {
		t.Errorf("P4 with a loss: got %+v", r)
	}
}

func TestTracedRow(t *testing.T) {
	seen := func(n, missed uint64) host.Seen { return host.Seen{Transitions: n, Missed: missed} }
	for _, tt := range []struct {
		name string
		traced
		want  report.Verdict
		notes int
	}{
		{"all", traced{made: 100, printed: 100, seen: seen(100, 0)}, report.OK, 0},
		{"one missing", traced{made: 100, printed: 99, seen: seen(100, 0)}, report.Miss, 0},
		{"hidden by the kernel", traced{made: 100, printed: 98, seen: seen(98, 0)}, report.OK, 1},
		{"the witness saw less", traced{made: 100, printed: 100, seen: seen(96, 4)}, report.OK, 0},
		{"a loss record", traced{made: 100, printed: 100, seen: seen(100, 0), lossRecords: 1}, report.Miss, 1},
		{"twice", traced{made: 100, printed: 101, seen: seen(100, 0)}, report.OK, 1},
	} {
		if r := tt.row(1); r.Verdict != tt.want || len(r.Notes) != tt.notes {
			t.Errorf("%s: got %+v", tt.name, r)
		}
	}
}

func TestMicroRow(t *testing.T) {
	decode := sample.Benchmark{Name: "BenchmarkDecodeEvent", NsPerOp: 80, AllocsCounted: true}
	judge := sample.Benchmark{Name: "BenchmarkJudge", NsPerOp: 120, AllocsCounted: true}
	row, err := microRow([]sample.Benchmark{decode, judge})
	if err != nil || row.Verdict != report.OK || row.Reached != "200 ns, 0 allocations" {
		t.Errorf("got %+v, %v", row, err)
	}
	judge.AllocsPerOp = 1
	if row, err := microRow([]sample.Benchmark{decode, judge}); err != nil || row.Verdict != report.Miss {
		t.Errorf("with an allocation: got %+v, %v", row, err)
	}
	if row, err := microRow([]sample.Benchmark{decode}); err == nil {
		t.Errorf("with one benchmark missing: got %+v", row)
	}
}

func TestDelayRow(t *testing.T) {
	var ms []float64
	for i := range 1000 {
		ms = append(ms, float64(i)/10)
	}
	if r := delayRow(ms); r.Verdict != report.OK || math.Abs(r.Values["p50_ms"]-49.95) > 0.01 || math.Abs(r.Values["p99_ms"]-98.9) > 0.1 {
		t.Errorf("got %+v", r)
	}
	ms[0] = 1e6
	if r := delayRow(ms); r.Verdict != report.OK || r.Values["max_ms"] != 1e6 {
		t.Errorf("one late line of a thousand: got %+v", r)
	}
}

func TestArrivals(t *testing.T) {
	a := newArrivals()
	r, w := io.Pipe()
	go a.read(r)
	lines := `{"tcplimbo.finding.status":"update","tcplimbo.socket.cookie":"1f"}
{"tcplimbo.finding.status":"open","tcplimbo.socket.cookie":"1f"}
not JSON
{"tcplimbo.finding.status":"open"}
`
	before := time.Now()
	go func() { _, _ = io.WriteString(w, lines) }()
	deadline := time.Now().Add(10 * time.Second)
	at, err := a.wait(context.Background(), 0x1f, deadline)
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("got %v, %v", at, err)
	}
	go func() { _ = w.Close() }()
	if _, err := a.wait(context.Background(), 0x20, deadline); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("after the end: got %v", err)
	}
	if _, err := newArrivals().wait(context.Background(), 1, time.Now()); err == nil {
		t.Error("a line that does not come in time: no error")
	}
}
