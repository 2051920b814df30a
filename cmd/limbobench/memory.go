package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
)

const (
	stuckSockets = 10_000
	idleMemory   = 40e6
	stuckMemory  = 60e6
	// foundTimeout is how long 10,000 findings may take before this is
	// called a failure and not a number.
	foundTimeout = 60 * time.Second
)

// measureMemory is P7.
func measureMemory(ctx context.Context, b *rig.Bench) (rows []report.Row, err error) {
	obs, err := b.Run("--close-wait", "2s")
	if err != nil {
		return nil, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	if err := rig.Sleep(ctx, 5*time.Second); err != nil {
		return nil, err
	}
	idle, err := host.ReadUsage(r.PID)
	if err != nil {
		return nil, err
	}
	b.Progress("memory: making %d stuck sockets", stuckSockets)
	stuck, err := rig.CloseWait(ctx, stuckSockets, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stuck.Close()) }()
	if err := waitFound(ctx, r, stuckSockets, foundTimeout); err != nil {
		return nil, err
	}
	full, least, most, err := stuckUsage(ctx, r.PID)
	if err != nil {
		return nil, err
	}
	row := memoryRow(fmt.Sprintf("RSS, %d sockets stuck", stuckSockets), full, stuckMemory)
	row.Notes = append(row.Notes, fmt.Sprintf("the median of %d readings in 10 s, from %.0f to %.0f MB", stuckReadings, least/1e6, most/1e6))
	return []report.Row{memoryRow("RSS, nothing stuck", idle.Memory, idleMemory), row}, nil
}

const stuckReadings = 21

// stuckUsage reads a process's memory again and again, because it rises with each round of
// updates and is given back after it; it returns the reading in the middle.
func stuckUsage(ctx context.Context, pid int) (median host.Memory, least, most float64, err error) {
	if err := rig.Sleep(ctx, 3*time.Second); err != nil {
		return host.Memory{}, 0, 0, err
	}
	var all []host.Memory
	for range stuckReadings {
		u, err := host.ReadUsage(pid)
		if err != nil {
			return host.Memory{}, 0, 0, err
		}
		all = append(all, u.Memory)
		if err := rig.Sleep(ctx, 500*time.Millisecond); err != nil {
			return host.Memory{}, 0, 0, err
		}
	}
	slices.SortFunc(all, func(a, b host.Memory) int { return cmp.Compare(a.RSS, b.RSS) })
	return all[len(all)/2], float64(all[0].RSS), float64(all[len(all)-1].RSS), nil
}

// waitFound waits until so many findings about CLOSE_WAIT are in the output.
func waitFound(ctx context.Context, r *rig.Running, want int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		n, err := rig.CountLines(r.Output, rig.OpenFinding("close_wait_silent"))
		if err != nil || n >= want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %d findings: %d after %s", want, n, timeout)
		}
		if err := r.Alive(); err != nil {
			return err
		}
		if err := rig.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func memoryRow(what string, m host.Memory, budget int64) report.Row {
	mb := func(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
	return report.Row{
		ID: "P7", What: what, Budget: "≤ " + mb(budget), Reached: mb(m.RSS), Verdict: report.Judge(m.RSS <= budget),
		Values: map[string]float64{"rss_bytes": float64(m.RSS), "peak_bytes": float64(m.Peak), "anonymous_bytes": float64(m.Anonymous)},
		Notes:  []string{fmt.Sprintf("%s: %s of it anonymous (heap, stacks), peak %s", what, mb(m.Anonymous), mb(m.Peak))},
	}
}
