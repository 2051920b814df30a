package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

// costBudgets are in ns, by --stacks.
var costBudgets = []struct {
	stacks string
	ns     float64
}{{"off", 90}, {"on", 130}}

// measureCost is P2.
func measureCost(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	var rows []report.Row
	for _, budget := range costBudgets {
		for threads := 1; threads <= 2; threads++ {
			c, err := measureRuns(ctx, b, threads, budget.stacks)
			if err != nil {
				return nil, err
			}
			rows = append(rows, c.row(threads, budget.stacks, budget.ns))
		}
	}
	return rows, nil
}

func measureRuns(ctx context.Context, b *rig.Bench, threads int, stacks string) (c *costs, err error) {
	obs, err := b.Run("--stacks", stacks)
	if err != nil {
		return nil, err
	}
	load, err := rig.StartChurn(threads)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	if err := calm(ctx, b, load); err != nil {
		return nil, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	return sampleCosts(ctx, b, r, load)
}

func sampleCosts(ctx context.Context, b *rig.Bench, r *rig.Running, load *rig.Churn) (c *costs, err error) {
	windows := 8
	if b.Quick {
		windows = 4
	}
	stats, err := host.CountRuns()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	empty, err := host.AttachEmpty()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.Close()) }()
	if c, err = newCosts(r.PID); err != nil {
		return nil, err
	}
	for i := 0; i < 2*windows && c.calm < windows; i++ {
		if err := c.window(ctx, r, load, empty); err != nil {
			return nil, err
		}
		w := c.windows[i]
		b.Progress("BPF run time: window %d: %.0f ns a transition, an empty program %.0f%s", i+1, w.all(), w.empty, inBrackets(w.disturbed))
	}
	return c, nil
}

// costs are the windows of one load.
type costs struct {
	names   map[ebpf.ProgramID]string
	windows []costWindow
	calm    int
}

// costWindow is about nanoseconds per transition.
type costWindow struct {
	program map[string]float64 // by name
	runs    float64            // of all programs
	empty   float64            // a run of the empty program
	// disturbed says what else used the machine: caches are shared.
	disturbed string
}

func (w costWindow) all() float64 {
	sum := 0.0
	for _, ns := range w.program {
		sum += ns
	}
	return sum
}

func newCosts(pid int) (*costs, error) {
	programs, err := host.Programs(pid)
	if err != nil {
		return nil, err
	}
	c := &costs{names: make(map[ebpf.ProgramID]string)}
	for _, p := range programs {
		if c.names[p.ID], err = host.FullName(p.ID); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// runs are all programs' runs at one moment; the empty one's id is 0.
type runs map[ebpf.ProgramID]host.Program

func readRuns(pid int, empty *host.Empty) (runs, error) {
	all, err := host.Programs(pid)
	if err != nil {
		return nil, err
	}
	r := make(runs)
	for _, p := range all {
		r[p.ID] = p
	}
	r[0], err = empty.Read()
	return r, err
}

const costWindowLength = time.Second

func (c *costs) window(ctx context.Context, r *rig.Running, load *rig.Churn, empty *host.Empty) error {
	noise, err := rig.ListenForNoise(load.PID, r.PID)
	if err != nil {
		return err
	}
	before, err := readRuns(r.PID, empty)
	if err != nil {
		return err
	}
	if err := rig.Sleep(ctx, costWindowLength); err != nil {
		return err
	}
	after, err := readRuns(r.PID, empty)
	if err != nil {
		return err
	}
	w, err := c.difference(before, after)
	if err != nil {
		return err
	}
	if w.disturbed, err = noise.Heard(); err != nil {
		return err
	}
	if w.disturbed == "" {
		c.calm++
	}
	c.windows = append(c.windows, w)
	return nil
}

// difference counts transitions by the runs of the empty program, which is on
// the same tracepoint and too short to be interrupted.
func (c *costs) difference(before, after runs) (costWindow, error) {
	transitions := float64(after[0].Runs - before[0].Runs)
	if transitions == 0 {
		return costWindow{}, errors.New("measuring BPF run time: there was no transition")
	}
	w := costWindow{
		program: make(map[string]float64),
		empty:   float64(after[0].Time-before[0].Time) / transitions,
	}
	for id, name := range c.names {
		w.program[name] += float64(after[id].Time-before[id].Time) / transitions
		w.runs += float64(after[id].Runs-before[id].Runs) / transitions
	}
	return w, nil
}

func (c *costs) row(threads int, stacks string, budget float64) report.Row {
	var once, each, empty []float64
	program := make(map[string][]float64)
	for _, w := range c.windows {
		if w.disturbed != "" && c.calm >= 3 {
			continue
		}
		once = append(once, w.all()-w.empty)
		each = append(each, w.all()-w.runs*w.empty)
		empty = append(empty, w.empty)
		for name, ns := range w.program {
			program[name] = append(program[name], ns)
		}
	}
	s := sample.Summarize(once)
	row := report.Row{
		ID: "P2", What: "BPF run time per transition less an empty program's, stacks " + stacks + ", " + threadsWord(threads),
		Budget:  fmt.Sprintf("≤ %.0f ns (goal %.0f)", budget, budget/2),
		Reached: fmt.Sprintf("%.0f ns (%.0f–%.0f)", s.Median, s.Q1, s.Q3), Verdict: report.Judge(s.Median <= budget),
		Values: map[string]float64{"ns": s.Median, "ns_less_each_run": sample.Median(each), "empty_ns": sample.Median(empty)},
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(program)) {
		ns := sample.Median(program[name])
		row.Values[name+"_ns"] = ns
		if ns >= 0.05 {
			parts = append(parts, fmt.Sprintf("%s %.1f", name, ns))
		}
	}
	row.Notes = append(row.Notes, fmt.Sprintf("ns per transition: %s; an empty program %.1f, nearly all of it the measuring itself; less that for every run of ours: %.0f",
		strings.Join(parts, ", "), sample.Median(empty), sample.Median(each)))
	if n := len(c.windows) - c.calm; n > 0 {
		row.Notes = append(row.Notes, fmt.Sprintf("%d of %d windows were disturbed", n, len(c.windows)))
	}
	return row
}
