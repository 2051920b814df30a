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

// measureGrowth is P11: what sockets cost, by their number: all of them idle, and
// half of them stuck.
func measureGrowth(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	sizes := []int{10_000, 50_000, 200_000}
	if b.Quick {
		sizes = sizes[:2]
	}
	var rows []report.Row
	for _, stuck := range []bool{false, true} {
		for _, n := range sizes {
			row, err := growthRow(ctx, b, n, stuck)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// foundEach is how long a finding may take among very many.
const foundEach = 2 * time.Millisecond

func growthRow(ctx context.Context, b *rig.Bench, sockets int, half bool) (row report.Row, err error) {
	idle, stuck := sockets, 0
	if half {
		idle, stuck = sockets/2, sockets/2
	}
	b.Progress("growth: opening %d idle sockets, %d stuck ones", idle, stuck)
	held, err := rig.Hold(ctx, idle/2)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	leaks, err := rig.CloseWait(ctx, stuck, 0)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, leaks.Close()) }()
	obs, err := b.Run("--close-wait", "2s")
	if err != nil {
		return report.Row{}, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	if err := waitFound(ctx, r, stuck, foundTimeout+time.Duration(stuck)*foundEach); err != nil {
		return report.Row{}, err
	}
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
	what, budget := fmt.Sprintf("idle host, %d ESTABLISHED sockets: agent's CPU, RSS, start", sockets), "flat in healthy sockets"
	if half {
		what, budget = fmt.Sprintf("%d sockets, half of them stuck: agent's CPU, RSS, start", sockets), "in proportion to the stuck ones"
	}
	return report.Row{
		ID: "P11", What: what, Budget: budget,
		Reached: fmt.Sprintf("%.3f %%, %.0f MB, %.0f ms", share, float64(after.Memory.RSS)/1e6, float64(r.Took)/1e6),
		Values: map[string]float64{
			"sockets": float64(sockets), "stuck": float64(stuck), "percent": share,
			"rss_bytes": float64(after.Memory.RSS), "start_ms": float64(r.Took) / 1e6,
		},
	}, nil
}
