package sample

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		name string
		xs   []float64
		q    float64
		want float64
	}{
		{"median of an odd number", []float64{9, 1, 5}, 0.5, 5},
		{"median of an even number", []float64{4, 1, 3, 2}, 0.5, 2.5},
		{"one value", []float64{7}, 0.99, 7},
		{"lower quartile, interpolated", []float64{10, 20, 30, 40}, 0.25, 17.5},
		{"upper quartile, interpolated", []float64{10, 20, 30, 40}, 0.75, 32.5},
		{"smallest", []float64{3, 2, 8}, 0, 2},
		{"largest", []float64{3, 2, 8}, 1, 8},
		{"beyond the largest", []float64{3, 2, 8}, 1.5, 8},
		{"below the smallest", []float64{3, 2, 8}, -1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Quantile(tt.xs, tt.q); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v, want NaN", got)
	}
}

func TestQuantileLeavesItsArgument(t *testing.T) {
	xs := []float64{3, 1, 2}
	Median(xs)
	if xs[0] != 3 || xs[1] != 1 || xs[2] != 2 {
		t.Errorf("got %v sorted in place", xs)
	}
}

func TestSummarize(t *testing.T) {
	got := Summarize([]float64{40, 10, 30, 20})
	if want := (Spread{Median: 25, Q1: 17.5, Q3: 32.5, N: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRatios(t *testing.T) {
	got := Ratios([]Pair{{Without: 100, With: 97}, {Without: 0, With: 5}, {Without: 200, With: 210}})
	if len(got) != 2 || math.Abs(got[0]-0.97) > 1e-9 || math.Abs(got[1]-1.05) > 1e-9 {
		t.Errorf("got %v, want 0.97 and 1.05; a pair without a base has no ratio", got)
	}
}

func TestCalm(t *testing.T) {
	calm, loud := Pair{Without: 1, With: 1}, Pair{Without: 1, With: 2, Disturbed: true}
	for _, tt := range []struct {
		name   string
		pairs  []Pair
		want   int
		enough bool
	}{
		{"all calm", []Pair{calm, calm, calm}, 3, true},
		{"disturbed ones are left out", []Pair{calm, loud, calm, loud, calm}, 3, true},
		{"too few calm ones", []Pair{calm, loud, calm, loud}, 4, false},
		{"few pairs, all calm", []Pair{calm}, 1, true},
		{"nothing calm", []Pair{loud, loud, loud}, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, enough := Calm(tt.pairs)
			if len(got) != tt.want || enough != tt.enough {
				t.Errorf("got %d pairs, enough %v; want %d, %v", len(got), enough, tt.want, tt.enough)
			}
		})
	}
	if got := CountCalm([]Pair{calm, loud, calm}); got != 2 {
		t.Errorf("counting: got %d, want 2", got)
	}
}
