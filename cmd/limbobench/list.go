package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const (
	listSockets = 10_000
	listBudget  = 0.6 // of ss -tanp
)

// measureList is P9.
func measureList(ctx context.Context, b *rig.Bench) (rows []report.Row, err error) {
	if _, err := exec.LookPath("ss"); err != nil {
		return []report.Row{{ID: "P9", What: "list against ss -tanp", Verdict: report.Skipped, Reached: "ss is not installed"}}, nil
	}
	b.Progress("list: making %d sockets in CLOSE_WAIT and %d ESTABLISHED", listSockets, listSockets)
	stuck, err := rig.CloseWait(ctx, listSockets, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stuck.Close()) }()
	held, err := rig.Hold(ctx, listSockets/2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if err := rig.Sleep(ctx, 2*time.Second); err != nil { // the peers' orphans end
		return nil, err
	}
	return compareLists(ctx, b)
}

func compareLists(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	rounds := 7
	if b.Quick {
		rounds = 5
	}
	var ours, theirs []float64
	for i := range rounds {
		ss, err := listOnce(ctx, b, "ss", "-tanp")
		if err != nil {
			return nil, err
		}
		own, err := listOnce(ctx, b, b.Binary, "list")
		if err != nil {
			return nil, err
		}
		b.Progress("list: round %d: %.0f ms, ss -tanp %.0f ms", i+1, own, ss)
		ours, theirs = append(ours, own), append(theirs, ss)
	}
	us, them := sample.Median(ours), sample.Median(theirs)
	return []report.Row{{
		ID: "P9", What: fmt.Sprintf("CPU time of list, %d CLOSE_WAIT and %d ESTABLISHED, relative to ss -tanp", listSockets, listSockets),
		Budget: fmt.Sprintf("≤ %.1f", listBudget), Reached: fmt.Sprintf("%.2f", us/them), Verdict: report.Judge(us/them <= listBudget),
		Values: map[string]float64{"ratio": us / them, "ms": us, "ss_ms": them},
		Notes:  []string{fmt.Sprintf("medians of %d: list %.0f ms, ss -tanp %.0f ms, into a file", rounds, us, them)},
	}}, nil
}

// listOnce returns the CPU time of one pass in ms. Both have to show what is
// stuck; a fast empty list is none.
func listOnce(ctx context.Context, b *rig.Bench, argv ...string) (float64, error) {
	path := filepath.Join(b.Dir, "list")
	out, err := os.Create(path)
	if err != nil {
		return 0, fmt.Errorf("creating output file: %w", err)
	}
	defer out.Close()
	cpu, err := rig.Finish(ctx, out, argv...)
	if err != nil {
		return 0, err
	}
	n, err := rig.CountLines(path, func([]byte) bool { return true })
	if err != nil {
		return 0, err
	}
	if n < listSockets {
		return 0, fmt.Errorf("running %s: %d lines about %d sockets in CLOSE_WAIT", argv[0], n, listSockets)
	}
	return float64(cpu) / 1e6, nil
}
