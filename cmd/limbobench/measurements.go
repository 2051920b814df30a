package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
)

// measurement is one load and the budgets that it tells about.
type measurement struct {
	ids []string
	run func(context.Context, *rig.Bench) ([]report.Row, error)
	// asked is set where it takes long: only if it is named.
	asked bool
}

// peersName selects the measurement of other tools.
const peersName = "peers"

func measurements() []measurement {
	return []measurement{
		{ids: []string{"P10"}, run: measureMicro},
		{ids: []string{"P12"}, run: measureStart},
		{ids: []string{"P1", "P3", "P4"}, run: measureRun},
		{ids: []string{"P2"}, run: measureCost},
		{ids: []string{"P4"}, run: measureTraceLoss},
		{ids: []string{"P5"}, run: measureTraceRate},
		{ids: []string{"P8"}, run: measureDelay},
		{ids: []string{"P7"}, run: measureMemory},
		{ids: []string{"P9"}, run: measureList},
		{ids: []string{"P6"}, run: measureIdle},
		{ids: []string{"P11"}, run: measureGrowth, asked: true},
	}
}

// names returns all that -run knows, in the order of the budgets.
func names() []string {
	var all []string
	for _, m := range measurements() {
		for _, id := range m.ids {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	slices.SortFunc(all, byNumber)
	return append(all, peersName)
}

// byNumber sorts P2 before P10.
func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return slices.Compare([]byte(a), []byte(b))
}

func (m measurement) wanted(only []string) bool {
	if len(only) == 0 {
		return !m.asked
	}
	return slices.ContainsFunc(m.ids, func(id string) bool { return slices.Contains(only, id) })
}

// measure fills in the report. What fails is said there and does not keep the
// rest from being measured.
func measure(ctx context.Context, b *rig.Bench, only []string, r *report.Report) error {
	var failures []error
	for _, m := range measurements() {
		if !m.wanted(only) || ctx.Err() != nil {
			continue
		}
		rows, err := m.run(ctx, b)
		if err != nil {
			failures = append(failures, fmt.Errorf("measuring %s: %w", m.ids[0], err))
			rows = failed(m.ids, err)
		}
		r.Rows = append(r.Rows, rows...)
	}
	slices.SortStableFunc(r.Rows, func(x, y report.Row) int { return byNumber(x.ID, y.ID) })
	if len(only) > 0 {
		r.Rows = slices.DeleteFunc(r.Rows, func(row report.Row) bool { return !slices.Contains(only, row.ID) })
	}
	if (len(only) == 0 || slices.Contains(only, peersName)) && ctx.Err() == nil {
		var err error
		if r.Peers, err = measurePeers(ctx, b); err != nil {
			failures = append(failures, fmt.Errorf("measuring peers: %w", err))
		}
	}
	return errors.Join(failures...)
}

func failed(ids []string, err error) []report.Row {
	var rows []report.Row
	for _, id := range ids {
		rows = append(rows, report.Row{ID: id, What: "not measured", Verdict: report.Failed, Notes: []string{err.Error()}})
	}
	return rows
}
