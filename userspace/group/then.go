package group

import (
	"hash/maphash"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Ordered is an Output that calls then once the record was written, or at once if it
// is written nowhere.
type Ordered interface {
	FindingThen(f *finding.Finding, then func())
}

// FindingThen is Finding, after which then is called: once the record was written if it
// has one of its own, at once if it is counted only.
func (g *Grouper) FindingThen(f *finding.Finding, then func(own bool)) {
	if !g.count(f) {
		then(false)
		return
	}
	if out, ok := g.out.(Ordered); ok {
		out.FindingThen(f, func() { then(true) })
		return
	}
	g.out.Finding(f)
	then(true)
}

// adopt takes in a finding that an earlier run opened.
func (g *Grouper) adopt(f *finding.Finding) member {
	now := g.clock()
	m := member{since: tenths(now - f.Duration), exact: f.SinceExact, printed: true}
	l := g.leakOf(sign(f), now)
	if l.family == nil {
		return m // there are too many leaks to tell whose it is
	}
	m.leak = l
	l.open(f, true)
	l.inherit(true) // it was known before the start
	g.members[maphash.String(g.seed, f.ID)] = m
	return m
}
