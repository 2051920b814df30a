package pprof

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
)

const (
	// maxKept is of how many functions it is remembered how many goroutines are in them.
	maxKept = 128
	// maxWork bounds how many frames of a profile are looked at.
	maxWork = 2_000_000
)

// digest is what is kept of a profile.
type digest struct {
	total int64
	// in is how many goroutines are in a function of the program's own, and
	// where most of them wait.
	in map[string]place
	// most is where most of all goroutines wait.
	most finding.Frame
}

// place is the innermost of the program's own functions that goroutines wait in.
type place struct {
	goroutines int64
	parked     finding.Frame
}

// spot tells places apart.
type spot struct {
	function, file string
	line           int
}

// digest counts goroutines by function.
func (p *profile) digest() *digest {
	frames := p.frames()
	d := &digest{in: make(map[string]place)}
	all := make(map[string]map[spot]int64)
	parked := make(map[spot]int64)
	work := 0
	for _, s := range p.samples {
		d.total += s.count
		var innermost *finding.Frame
		seen := make(map[string]bool)
		for _, id := range s.locations {
			for i := range frames[id] {
				f := &frames[id][i]
				if work++; work > maxWork || f.Plumbing || f.Function == "" || seen[f.Function] {
					continue
				}
				seen[f.Function] = true
				if innermost == nil {
					innermost = f
					parked[spotOf(f)] += s.count
				}
				if all[f.Function] == nil {
					all[f.Function] = make(map[spot]int64)
				}
				all[f.Function][spotOf(innermost)] += s.count
			}
		}
	}
	for name, spots := range all {
		n := int64(0)
		for _, count := range spots {
			n += count
		}
		d.in[name] = place{n, fullest(spots)}
	}
	d.most = fullest(parked)
	d.shrink()
	return d
}

func spotOf(f *finding.Frame) spot { return spot{f.Function, f.File, f.Line} }

// fullest returns where most goroutines are; of several the first by name, so
// that it is the same each time.
func fullest(spots map[spot]int64) finding.Frame {
	var best spot
	most := int64(-1)
	for s, n := range spots {
		if n > most || n == most && cmp.Or(cmp.Compare(s.function, best.function), cmp.Compare(s.file, best.file), cmp.Compare(s.line, best.line)) < 0 {
			best, most = s, n
		}
	}
	return finding.Frame{Function: best.function, File: best.file, Line: best.line}
}

// shrink keeps the functions with the most goroutines.
func (d *digest) shrink() {
	if len(d.in) <= maxKept {
		return
	}
	names := slices.SortedFunc(maps.Keys(d.in), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.in[b].goroutines, d.in[a].goroutines), cmp.Compare(a, b))
	})
	for _, name := range names[maxKept:] {
		delete(d.in, name)
	}
}

// frames makes frames of all locations, once for all samples.
func (p *profile) frames() map[uint64][]finding.Frame {
	const maxLine = 1 << 24
	out := make(map[uint64][]finding.Frame, len(p.locations))
	for id, l := range p.locations {
		list := make([]finding.Frame, len(l.lines))
		for i, at := range l.lines {
			fn := p.functions[at.function]
			f := finding.Frame{Function: p.text(fn.name), File: p.text(fn.file)}
			if at.number > 0 && at.number < maxLine {
				f.Line = int(at.number)
			}
			f.Plumbing = stack.Plumbing(&f)
			list[i] = f
		}
		out[id] = list
	}
	return out
}

// about returns what the profile says of a stack: how many goroutines are in
// the innermost function of the program's own that any are in. main.main is in
// many stacks and tells nothing, unless it is where the stack begins.
func (d *digest) about(s *finding.Stack) *finding.Goroutines {
	g := &finding.Goroutines{Total: d.total, Parked: d.most}
	if s == nil {
		return g
	}
	for i := range s.Frames {
		f := &s.Frames[i]
		if f.Plumbing || f.Function == "" {
			continue
		}
		in, ok := d.in[f.Function]
		if g.Function == "" {
			// Nobody is in it any more: it went on, and forgot the socket.
			g.Function, g.Parked = f.Function, finding.Frame{}
		} else if f.Function == "main.main" {
			break
		}
		if ok {
			g.Function, g.Matching, g.Parked = f.Function, in.goroutines, in.parked
			break
		}
	}
	return g
}
