package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const costBudget = 90 // ns, without stacks

// The agent's programs by the names that the kernel keeps, 15 bytes.
const (
	onTransition = "limbo_set_state"
	onRetransmit = "limbo_retransmi"
	ageing       = "limbo_age"
)

// measureCost is P2.
func measureCost(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	var rows []report.Row
	for threads := 1; threads <= 2; threads++ {
		row, err := costRow(ctx, b, threads)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func costRow(ctx context.Context, b *rig.Bench, threads int) (row report.Row, err error) {
	obs, err := b.Run()
	if err != nil {
		return report.Row{}, err
	}
	load, err := rig.StartChurn(threads)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	r, err := b.Start(ctx, obs)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	costs, err := sampleCosts(ctx, b, r)
	if err != nil {
		return report.Row{}, err
	}
	return costs.row(threads), nil
}

// costs are nanoseconds per transition, one element a window.
type costs struct{ all, transition, age, retransmit, empty []float64 }

func sampleCosts(ctx context.Context, b *rig.Bench, r *rig.Running) (c costs, err error) {
	windows, length := 7, time.Second
	if b.Quick {
		windows = 3
	}
	stats, err := host.CountRuns()
	if err != nil {
		return costs{}, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	empty, err := host.AttachEmpty()
	if err != nil {
		return costs{}, err
	}
	defer func() { err = errors.Join(err, empty.Close()) }()
	before, err := readRuns(r.PID, empty)
	if err != nil {
		return costs{}, err
	}
	for i := range windows {
		if err := rig.Sleep(ctx, length); err != nil {
			return costs{}, err
		}
		after, err := readRuns(r.PID, empty)
		if err != nil {
			return costs{}, err
		}
		if err := c.add(before, after); err != nil {
			return costs{}, err
		}
		b.Progress("BPF run time: window %d: %.0f ns a transition, an empty program %.0f", i+1, c.all[i], c.empty[i])
		before = after
	}
	return c, nil
}

// programRuns are runs and run time by program name, "" the empty one's.
type programRuns map[string]host.Program

func readRuns(pid int, empty *host.Empty) (programRuns, error) {
	all, err := host.Programs(pid)
	if err != nil {
		return nil, err
	}
	runs := make(programRuns)
	for _, p := range all {
		runs[p.Name] = p
	}
	if runs[""], err = empty.Read(); err != nil {
		return nil, err
	}
	return runs, nil
}

func (c *costs) add(before, after programRuns) error {
	spent := func(name string) time.Duration { return after[name].Time - before[name].Time }
	transitions := float64(after[onTransition].Runs - before[onTransition].Runs)
	emptyRuns := float64(after[""].Runs - before[""].Runs)
	if transitions == 0 || emptyRuns == 0 {
		return fmt.Errorf("measuring BPF run time: %s ran %.0f times and an empty program %.0f times",
			onTransition, transitions, emptyRuns)
	}
	transition := float64(spent(onTransition)) / transitions
	age := float64(spent(ageing)) / transitions
	retransmit := float64(spent(onRetransmit)) / transitions
	c.transition = append(c.transition, transition)
	c.age = append(c.age, age)
	c.retransmit = append(c.retransmit, retransmit)
	c.all = append(c.all, transition+age+retransmit)
	c.empty = append(c.empty, float64(spent(""))/emptyRuns)
	return nil
}

func (c *costs) row(threads int) report.Row {
	net := make([]float64, len(c.all))
	for i := range net {
		net[i] = c.all[i] - c.empty[i]
	}
	s := sample.Summarize(net)
	var notes strings.Builder
	fmt.Fprintf(&notes, "ns per transition: %s %.1f, %s %.1f, %s %.1f, an empty program %.1f",
		onTransition, sample.Median(c.transition), ageing, sample.Median(c.age),
		"limbo_retransmit", sample.Median(c.retransmit), sample.Median(c.empty))
	return report.Row{
		ID: "P2", What: "BPF run time per transition less an empty program's, " + threadsWord(threads),
		Budget:  fmt.Sprintf("≤ %d ns (goal %d)", costBudget, costBudget/2),
		Reached: fmt.Sprintf("%.0f ns (%.0f–%.0f)", s.Median, s.Q1, s.Q3), Verdict: report.Judge(s.Median <= costBudget),
		Values: map[string]float64{
			"ns": s.Median, "set_state_ns": sample.Median(c.transition), "age_ns": sample.Median(c.age),
			"retransmit_ns": sample.Median(c.retransmit), "empty_ns": sample.Median(c.empty),
		},
		Notes: []string{notes.String()},
	}
}
