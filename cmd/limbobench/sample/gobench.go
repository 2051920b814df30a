package sample

import (
	"strconv"
	"strings"
)

// Benchmark is one line of `go test -bench -benchmem`.
type Benchmark struct {
	Name          string // without the number of CPUs
	NsPerOp       float64
	AllocsPerOp   float64
	AllocsCounted bool
}

// ParseBenchmarks returns the benchmark lines of the output of go test; other
// lines are skipped.
func ParseBenchmarks(out string) []Benchmark {
	var all []Benchmark
	for line := range strings.Lines(out) {
		if b, ok := parseBenchmark(strings.Fields(line)); ok {
			all = append(all, b)
		}
	}
	return all
}

// parseBenchmark reads "BenchmarkX-2 1000 12.5 ns/op 0 B/op 0 allocs/op".
func parseBenchmark(f []string) (Benchmark, bool) {
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return Benchmark{}, false
	}
	b := Benchmark{Name: withoutCPUs(f[0])}
	timed := false
	for i := 2; i+1 < len(f); i += 2 {
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return Benchmark{}, false
		}
		switch f[i+1] {
		case "ns/op":
			b.NsPerOp, timed = v, true
		case "allocs/op":
			b.AllocsPerOp, b.AllocsCounted = v, true
		}
	}
	return b, timed
}

func withoutCPUs(name string) string {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return name
	}
	if _, err := strconv.Atoi(name[i+1:]); err != nil {
		return name
	}
	return name[:i]
}
