package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const traceBudget = 0.90

// measureTraceRate is P5.
func measureTraceRate(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	p := plan{pairs: 8, most: 12, window: 1500 * time.Millisecond}
	if b.Quick {
		p = plan{pairs: 3, most: 5, window: time.Second}
	}
	c, err := compare(ctx, b, 1, b.Trace(), p)
	if err != nil {
		return nil, err
	}
	calm, _ := sample.Calm(c.rate)
	s := sample.Summarize(sample.Ratios(calm))
	row := report.Row{
		ID: "P5", What: "connection rate with trace -o json into a file, relative to none, 1 connecting thread",
		Budget: fmt.Sprintf("≥ %.2f, 0 lost", traceBudget), Reached: quartiles(s), Verdict: report.Judge(s.Median >= traceBudget),
		Values: map[string]float64{"ratio": s.Median, "q1": s.Q1, "q3": s.Q3, "cpu_seconds_per_million": c.perMillion()},
		Notes: append(c.rateNotes(calm),
			fmt.Sprintf("its CPU time: %.2f s per 1 M transitions; what it loses is in P4", c.perMillion())),
	}
	return []report.Row{row}, nil
}

// measureTraceLoss is the half of P4 that is about `trace`: every transition of
// the load that the kernel showed to BPF programs has to be in the output.
func measureTraceLoss(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	connections := 100_000
	if b.Quick {
		connections = 30_000
	}
	var rows []report.Row
	for threads := 1; threads <= 2; threads++ {
		t, err := countTraced(ctx, b, threads, connections)
		if err != nil {
			return nil, err
		}
		rows = append(rows, t.row(threads))
	}
	return rows, nil
}

// traced is what of a load came out of trace.
type traced struct {
	made, printed, lossRecords int
	seen                       host.Seen
}

// lost is how many transitions are missing. What the witness did not see
// because it was running itself cannot be told from what trace did not see.
func (t traced) lost() int { return max(0, int(t.seen.Transitions)-t.printed) }

func (t traced) row(threads int) report.Row {
	r := report.Row{
		ID: "P4", What: "records lost by trace -o json under that load, " + threadsWord(threads),
		Budget: "0", Reached: fmt.Sprintf("%d of %.1f M transitions", t.lost(), float64(t.seen.Transitions)/1e6),
		Verdict: report.Judge(t.lost() == 0 && t.lossRecords == 0),
		Values: map[string]float64{
			"made": float64(t.made), "seen": float64(t.seen.Transitions), "printed": float64(t.printed),
			"loss_records": float64(t.lossRecords), "witness_missed": float64(t.seen.Missed),
		},
	}
	if t.lossRecords > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d tcplimbo.loss lines", t.lossRecords))
	}
	if hidden := t.made - max(t.printed, int(t.seen.Transitions)); hidden > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("of %d transitions this kernel showed %d to no BPF program", t.made, hidden))
	}
	if twice := t.printed - t.made; twice > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d lines are more than there were transitions", twice))
	}
	return r
}

func countTraced(ctx context.Context, b *rig.Bench, threads, connections int) (t traced, err error) {
	r, err := b.Start(ctx, b.Trace())
	if err != nil {
		return traced{}, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	b.Progress("trace: %d connections, %s", connections, threadsWord(threads))
	load, err := rig.PrepareChurn(threads, connections)
	if err != nil {
		return traced{}, err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	witness, err := host.NewWitness(load.NetNS)
	if err != nil {
		return traced{}, err
	}
	defer func() { err = errors.Join(err, witness.Close()) }()
	if err := errors.Join(load.Finish(ctx), r.Settle(ctx)); err != nil {
		return traced{}, err
	}
	if t.seen, err = witness.Read(); err != nil {
		return traced{}, err
	}
	t.made = load.Total().Connections * rig.Transitions
	if t.printed, err = rig.CountLines(r.Output, rig.TransitionIn(load.NetNS)); err != nil {
		return traced{}, err
	}
	t.lossRecords, err = rig.CountLines(r.Output, rig.Event("tcplimbo.loss"))
	return t, err
}
