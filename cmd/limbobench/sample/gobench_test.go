package sample

import (
	"slices"
	"testing"
)

func TestParseBenchmarks(t *testing.T) {
	const out = `goos: linux
pkg: github.com/tcplimbo/tcplimbo/tracer
BenchmarkDecodeEvent-2   	14630250	        81.90 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecode/a-b-16   	    1000	      1200 ns/op	 15.5 MB/s	      64 B/op	       2 allocs/op
BenchmarkPlain 	 100	 7 ns/op
BenchmarkBroken-2   	 100	 seven ns/op
BenchmarkNoTime-2   	 100	 7 B/op
Benchmark alone
PASS
ok  	github.com/tcplimbo/tcplimbo/tracer	2.1s
`
	want := []Benchmark{
		{Name: "BenchmarkDecodeEvent", NsPerOp: 81.9, AllocsCounted: true},
		{Name: "BenchmarkDecode/a-b", NsPerOp: 1200, AllocsPerOp: 2, AllocsCounted: true},
		{Name: "BenchmarkPlain", NsPerOp: 7},
	}
	if got := ParseBenchmarks(out); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func FuzzParseBenchmarks(f *testing.F) {
	f.Add("BenchmarkX-2 1 2 ns/op 0 B/op 0 allocs/op\n")
	f.Add("Benchmark- - - -")
	f.Fuzz(func(t *testing.T, out string) {
		for _, b := range ParseBenchmarks(out) {
			if len(b.Name) < len("Benchmark") {
				t.Errorf("%+v has no name", b)
			}
		}
	})
}
