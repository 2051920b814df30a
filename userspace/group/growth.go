package group

import (
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// growthLeast is how long a group is watched before it is said by how many a minute
// it grows: what a few seconds showed is not multiplied.
const growthLeast = time.Minute

// inherits reports whether a socket may have been in its state before anybody
// looked: its number then says nothing about growth. Where the time is a bound, it
// may also be of a later look.
func (g *Grouper) inherits(f *finding.Finding, now time.Duration) bool {
	since := now - f.Duration
	return g.began == 0 || since <= g.began || (!f.SinceExact && since <= g.began+pace)
}

func (l *leak) inherit(printed bool) {
	l.inherited++
	if printed {
		l.family.inherited++
	}
}

// grow says by how many the leak has grown since the record that is measured from.
func (l *leak) grow(r *finding.Group, now time.Duration) {
	r.Grown, r.GrownIn = r.Count-l.inherited-l.grown, now-l.grownAt
	r.GrowthKnown = r.GrownIn >= growthLeast
	if r.GrowthKnown {
		r.Growth = float64(r.Grown) * float64(time.Minute) / float64(r.GrownIn)
	}
}

// measure measures from this record on: the first, and each that said by how many a
// minute.
func (l *leak) measure(r *finding.Group, now time.Duration) {
	if !l.told || r.GrowthKnown {
		l.grown, l.grownAt = r.Count-l.inherited, now
	}
}
