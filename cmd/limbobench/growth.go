package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
)

// measureGrowth is P11: what idle sockets cost, by their number.
func measureGrowth(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	sizes := []int{10_000, 50_000, 200_000}
	if b.Quick {
		sizes = sizes[:2]
	}
	var rows []report.Row
	for _, n := range sizes {
		row, err := growthRow(ctx, b, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func growthRow(ctx context.Context, b *rig.Bench, sockets int) (row report.Row, err error) {
	b.Progress("growth: opening %d sockets", sockets)
	held, err := rig.Hold(ctx, sockets/2)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	obs, err := b.Run()
	if err != nil {
		return report.Row{}, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	if err := rig.Sleep(ctx, 2*time.Second); err != nil {
		return report.Row{}, err
	}
	before, err := host.ReadUsage(r.PID)
	if err != nil {
		return report.Row{}, err
	}
	const watch = 15 * time.Second
	if err := rig.Sleep(ctx, watch); err != nil {
		return report.Row{}, err
	}
	after, err := host.ReadUsage(r.PID)
	if err != nil {
		return report.Row{}, err
	}
	share := 100 * (after.CPU - before.CPU).Seconds() / watch.Seconds()
	return report.Row{
		ID: "P11", What: fmt.Sprintf("idle host, %d ESTABLISHED sockets: agent's CPU, RSS, start", sockets),
		Budget:  "flat in healthy sockets",
		Reached: fmt.Sprintf("%.3f %%, %.0f MB, %.0f ms", share, float64(after.Memory.RSS)/1e6, float64(r.Took)/1e6),
		Values:  map[string]float64{"sockets": float64(sockets), "percent": share, "rss_bytes": float64(after.Memory.RSS), "start_ms": float64(r.Took) / 1e6},
	}, nil
}
