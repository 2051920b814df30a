package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const (
	startSockets = 10_000
	startBudget  = 500 // ms
	startRounds  = 7
)

// measureStart is P12.
func measureStart(ctx context.Context, b *rig.Bench) (rows []report.Row, err error) {
	held, err := rig.Hold(ctx, startSockets/2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	var ms []float64
	for i := range startRounds {
		took, err := startOnce(ctx, b)
		if err != nil {
			return nil, err
		}
		b.Progress("start: round %d: %.0f ms", i+1, took)
		ms = append(ms, took)
	}
	s := sample.Summarize(ms)
	return []report.Row{{
		ID: "P12", What: fmt.Sprintf("from exec to attached and first snapshot, %d sockets", startSockets),
		Budget: fmt.Sprintf("≤ %d ms", startBudget), Reached: fmt.Sprintf("%.0f ms (%.0f–%.0f)", s.Median, s.Q1, s.Q3),
		Verdict: report.Judge(s.Median <= startBudget), Values: map[string]float64{"ms": s.Median},
	}}, nil
}

func startOnce(ctx context.Context, b *rig.Bench) (ms float64, err error) {
	obs, err := b.Run()
	if err != nil {
		return 0, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return 0, err
	}
	return float64(r.Took) / 1e6, r.End()
}
