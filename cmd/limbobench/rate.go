package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

// ratePlan is long enough to tell 0.97 from 0.99 also on a machine that others share: there the median of
// ten pairs scattered by 0.03.
func ratePlan(quick bool) plan {
	if quick {
		return plan{pairs: 4, most: 6, window: time.Second}
	}
	return plan{pairs: 24, most: 36, window: 1500 * time.Millisecond}
}

// compare runs one comparison from the start of the load to its end.
func compare(ctx context.Context, b *rig.Bench, threads int, obs *rig.Observer, p plan) (c *comparison, err error) {
	load, err := rig.StartChurn(threads)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	return alternate(ctx, b, load, obs, p)
}

// measureRun is P1, P3 and the half of P4 that is about `run`: one load tells
// all three.
func measureRun(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	var rows []report.Row
	for threads := 1; threads <= 2; threads++ {
		obs, err := b.Run()
		if err != nil {
			return nil, err
		}
		c, err := compare(ctx, b, threads, obs, ratePlan(b.Quick))
		if err != nil {
			return nil, err
		}
		rows = append(rows, c.rateRow(threads), c.agentRow(threads), c.lossRow(threads))
	}
	return rows, nil
}

func threadsWord(n int) string {
	if n == 1 {
		return "1 connecting thread"
	}
	return fmt.Sprintf("%d connecting threads", n)
}

const (
	rateBudget  = 0.97
	agentBudget = 0.05 // CPU s per million transitions
)

func (c *comparison) rateRow(threads int) report.Row {
	calm, _ := sample.Calm(c.rate)
	s := sample.Summarize(sample.Ratios(calm))
	return report.Row{
		ID: "P1", What: "connection rate with run, relative to none, " + threadsWord(threads),
		Budget: fmt.Sprintf("≥ %.2f (goal 0.99)", rateBudget), Reached: quartiles(s),
		Verdict: report.Judge(s.Median >= rateBudget),
		Values: map[string]float64{
			"ratio": s.Median, "q1": s.Q1, "q3": s.Q3, "pairs": float64(s.N),
			"rate_without": sample.Median(column(calm, false)), "rate_with": sample.Median(column(calm, true)),
			"load_cpu_ratio": sample.Median(sample.Ratios(first(sample.Calm(c.cost)))),
		},
		Notes: c.rateNotes(calm),
	}
}

// first drops what Calm says beside the pairs.
func first(pairs []sample.Pair, _ bool) []sample.Pair { return pairs }

func quartiles(s sample.Spread) string {
	return fmt.Sprintf("%.3f (%.3f–%.3f)", s.Median, s.Q1, s.Q3)
}

func column(pairs []sample.Pair, with bool) []float64 {
	var out []float64
	for _, p := range pairs {
		if with {
			out = append(out, p.With)
		} else {
			out = append(out, p.Without)
		}
	}
	return out
}

func (c *comparison) rateNotes(calm []sample.Pair) []string {
	cost := sample.Median(sample.Ratios(first(sample.Calm(c.cost))))
	notes := []string{fmt.Sprintf(
		"median and quartiles of %d pairs; %.0f connections/s without; the load's own CPU time per connection is %.3f of what it is without",
		len(calm), sample.Median(column(calm, false)), cost)}
	if d := c.disturbedNote(); d != "" {
		notes = append(notes, d)
	}
	return notes
}

// disturbedNote is empty if the machine was calm.
func (c *comparison) disturbedNote() string {
	if len(c.disturbances) == 0 {
		return ""
	}
	_, enough := sample.Calm(c.rate)
	what := "left out"
	if !enough {
		what = "used nevertheless, for want of calm ones: the numbers are not reliable"
	}
	reasons := slices.Sorted(maps.Keys(c.disturbances))
	const shown = 2
	if len(reasons) > shown {
		reasons = append(reasons[:shown], "…")
	}
	return fmt.Sprintf("%d of %d pairs were disturbed and %s (%s)",
		len(c.rate)-sample.CountCalm(c.rate), len(c.rate), what, strings.Join(reasons, "; "))
}

// perMillion is the observer's CPU seconds for a million transitions.
func (c *comparison) perMillion() float64 { return c.agent.Seconds() / c.transitions * 1e6 }

func (c *comparison) agentRow(threads int) report.Row {
	v := c.perMillion()
	return report.Row{
		ID: "P3", What: "agent's CPU s per 1 M healthy transitions, " + threadsWord(threads),
		Budget: fmt.Sprintf("≤ %.2f", agentBudget), Reached: fmt.Sprintf("%.4f", v), Verdict: report.Judge(v <= agentBudget),
		Values: map[string]float64{"cpu_seconds": v, "transitions": c.transitions, "agent_seconds": c.agent.Seconds()},
		Notes: []string{fmt.Sprintf("user and system time of the process over %.1f M transitions; the ageing pass on its own CPU is in it",
			c.transitions/1e6)},
	}
}

func (c *comparison) lossRow(threads int) report.Row {
	return report.Row{
		ID: "P4", What: "records lost by run under that load, " + threadsWord(threads),
		Budget: "0", Reached: fmt.Sprintf("%d of %.1f M transitions", c.lost, c.transitions/1e6),
		Verdict: report.Judge(c.lost == 0 && c.lossRecords == 0),
		Values:  map[string]float64{"lost": float64(c.lost), "loss_records": float64(c.lossRecords)},
	}
}
