package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

const microBudget = 300 // ns

// microBenchmarks are what happens to one record in user space.
var microBenchmarks = []string{"BenchmarkDecodeEvent", "BenchmarkJudge"}

// measureMicro is P10.
func measureMicro(ctx context.Context, b *rig.Bench) ([]report.Row, error) {
	b.Progress("user space: go test -bench")
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^("+strings.Join(microBenchmarks, "|")+")$",
		"-benchmem", "-benchtime", "300ms", "-count", "5", "./tracer", "./userspace/detect")
	cmd.Dir = b.Root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running go test -bench: %w: %s", err, out)
	}
	row, err := microRow(sample.ParseBenchmarks(string(out)))
	if err != nil {
		return nil, err
	}
	return []report.Row{row}, nil
}

func microRow(all []sample.Benchmark) (report.Row, error) {
	row := report.Row{
		ID: "P10", What: "user space, one record decoded and judged", Budget: fmt.Sprintf("≤ %d ns, 0 allocations", microBudget),
		Values: make(map[string]float64),
	}
	total, allocs := 0.0, 0.0
	for _, name := range microBenchmarks {
		var ns []float64
		for _, b := range all {
			if b.Name != name {
				continue
			}
			if !b.AllocsCounted {
				return report.Row{}, fmt.Errorf("reading %s: it does not count allocations", name)
			}
			ns = append(ns, b.NsPerOp)
			allocs = max(allocs, b.AllocsPerOp)
		}
		if len(ns) == 0 {
			return report.Row{}, fmt.Errorf("running go test -bench: there is no %s", name)
		}
		row.Values[name] = sample.Median(ns)
		total += sample.Median(ns)
		row.Notes = append(row.Notes, fmt.Sprintf("%s %.0f ns", name, sample.Median(ns)))
	}
	row.Values["ns"], row.Values["allocs"] = total, allocs
	row.Reached = fmt.Sprintf("%.0f ns, %.0f allocations", total, allocs)
	row.Verdict = report.Judge(total <= microBudget && allocs == 0)
	return row, nil
}
