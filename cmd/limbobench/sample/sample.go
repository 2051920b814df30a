// Package sample holds the statistics of the benchmark: everything is compared
// within one run, by medians, because absolute times differ between machines
// and between minutes on a shared one.
package sample

import (
	"math"
	"slices"
)

// Quantile returns the q-quantile (0…1) of xs, interpolated between the two
// nearest values; NaN if xs is empty.
func Quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	at := min(max(q, 0), 1) * float64(len(s)-1)
	lo := int(at)
	if lo == len(s)-1 {
		return s[lo]
	}
	return s[lo] + (at-float64(lo))*(s[lo+1]-s[lo])
}

// Median returns the middle of xs; NaN if xs is empty.
func Median(xs []float64) float64 { return Quantile(xs, 0.5) }

// Spread is the middle of some values and how far they scatter.
type Spread struct {
	Median, Q1, Q3 float64
	N              int
}

// Summarize returns the median and the quartiles.
func Summarize(xs []float64) Spread {
	return Spread{Median: Median(xs), Q1: Quantile(xs, 0.25), Q3: Quantile(xs, 0.75), N: len(xs)}
}

// Pair is one measurement without the observer and one with it, made one right
// after the other.
type Pair struct {
	Without, With float64
	// Disturbed says that something else used the machine meanwhile.
	Disturbed bool
}

// Ratios returns with/without of each pair.
func Ratios(pairs []Pair) []float64 {
	out := make([]float64, 0, len(pairs))
	for _, p := range pairs {
		if p.Without > 0 {
			out = append(out, p.With/p.Without)
		}
	}
	return out
}

// enough pairs for a median that one odd pair cannot move far.
const enough = 3

// Calm returns the undisturbed pairs; if there are too few of them for a
// median, all pairs and false.
func Calm(pairs []Pair) ([]Pair, bool) {
	var calm []Pair
	for _, p := range pairs {
		if !p.Disturbed {
			calm = append(calm, p)
		}
	}
	if len(calm) < min(enough, len(pairs)) {
		return pairs, false
	}
	return calm, true
}

// CountCalm returns how many pairs were not disturbed.
func CountCalm(pairs []Pair) int {
	n := 0
	for _, p := range pairs {
		if !p.Disturbed {
			n++
		}
	}
	return n
}
