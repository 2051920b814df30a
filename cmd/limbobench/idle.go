package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const (
	idleSockets = 50_000
	idleBudget  = 0.3 // % of one core
)

// measureIdle is P6.
func measureIdle(ctx context.Context, b *rig.Bench) (rows []report.Row, err error) {
	watch := 30 * time.Second
	if b.Quick {
		watch = 8 * time.Second
	}
	b.Progress("idle host: opening %d sockets", idleSockets)
	held, err := rig.Hold(ctx, idleSockets/2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	share, used, err := idleShare(ctx, b, watch)
	if err != nil {
		return nil, err
	}
	row := report.Row{
		ID: "P6", What: fmt.Sprintf("idle host, %d ESTABLISHED sockets: agent's CPU", idleSockets),
		Budget: fmt.Sprintf("≤ %.1f %% of a core", idleBudget), Reached: fmt.Sprintf("%.3f %%", share),
		Verdict: report.Judge(share <= idleBudget),
		Values:  map[string]float64{"percent": share, "cpu_seconds": used.Seconds(), "seconds": watch.Seconds()},
		Notes:   []string{fmt.Sprintf("%d ms of CPU in %s", used.Milliseconds(), watch)},
	}
	ms, err := pollCost(ctx)
	if err != nil {
		return nil, err
	}
	if ms > 0 {
		row.Values["ss_percent"] = ms / 10
		row.Notes = append(row.Notes, fmt.Sprintf("ss -tanp once a second takes %.1f %% there (%.0f ms a pass)", ms/10, ms))
	}
	queued, err := queuedRow(ctx, b, watch)
	if err != nil {
		return nil, err
	}
	return []report.Row{row, queued}, nil
}

// queuedSockets have written what their peers read every few seconds only.
const queuedSockets = 10_000

// queuedRow measures the same beside sockets that have data waiting.
func queuedRow(ctx context.Context, b *rig.Bench, watch time.Duration) (row report.Row, err error) {
	b.Progress("%d sockets with queued data", queuedSockets)
	held, err := rig.HoldQueued(ctx, queuedSockets)
	if err != nil {
		return report.Row{}, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	share, used, err := idleShare(ctx, b, watch)
	if err != nil {
		return report.Row{}, err
	}
	return report.Row{
		ID: "P6", What: fmt.Sprintf("the same beside %d more that have queued data: agent's CPU", queuedSockets),
		Budget: fmt.Sprintf("≤ %.1f %% of a core", idleBudget), Reached: fmt.Sprintf("%.3f %%", share),
		Verdict: report.Judge(share <= idleBudget),
		Values:  map[string]float64{"percent": share, "cpu_seconds": used.Seconds(), "seconds": watch.Seconds()},
		Notes:   []string{fmt.Sprintf("%d ms of CPU in %s; each connection moves every 5 s, its other end has unread data", used.Milliseconds(), watch)},
	}, nil
}

// idleShare returns the share of one core that the agent takes while nothing
// happens, in %.
func idleShare(ctx context.Context, b *rig.Bench, watch time.Duration) (share float64, used time.Duration, err error) {
	obs, err := b.Run()
	if err != nil {
		return 0, 0, err
	}
	r, err := b.Start(ctx, obs)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	b.Progress("idle host: watching the agent for %s", watch)
	if err := rig.Sleep(ctx, 2*time.Second); err != nil { // what the start leaves to do
		return 0, 0, err
	}
	before, err := host.ReadUsage(r.PID)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := rig.Sleep(ctx, watch); err != nil {
		return 0, 0, err
	}
	after, err := host.ReadUsage(r.PID)
	if err != nil {
		return 0, 0, err
	}
	used = after.CPU - before.CPU
	return 100 * used.Seconds() / time.Since(began).Seconds(), used, nil
}

// pollCost returns the CPU time of one pass of ss in ms, 0 if there is none.
func pollCost(ctx context.Context) (float64, error) {
	if _, err := exec.LookPath("ss"); err != nil {
		return 0, nil
	}
	var ms []float64
	for range 3 {
		d, err := rig.Finish(ctx, io.Discard, "ss", "-tanp")
		if err != nil {
			return 0, err
		}
		ms = append(ms, float64(d)/1e6)
	}
	return sample.Median(ms), nil
}
