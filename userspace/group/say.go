package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Tick writes the records that are due. now is the time since boot; at the end
// whatever has not been said is.
func (g *Grouper) Tick(now time.Duration, wall time.Time, end bool) {
	if g.began == 0 {
		g.began = now
	}
	var due []*leak
	for _, l := range g.leaks {
		if l.due(now, end) {
			due = append(due, l)
		}
		if l.done(now) {
			g.drop(l)
		}
	}
	if len(due) == 0 {
		return
	}
	slices.SortFunc(due, func(a, b *leak) int { return cmp.Compare(a.id, b.id) })
	oldest := g.oldest(due, now)
	for _, l := range due {
		g.say(l, oldest[l], now, wall)
	}
}

// due reports whether there is something to be said.
func (l *leak) due(now time.Duration, end bool) bool {
	switch {
	case !l.told && !l.active():
		// A leak that came and went between two ticks was opened and is resolved.
		return l.fresh && (end || l.rested(now))
	case end:
		return l.fresh
	case !l.rested(now):
		return false
	case !l.told || !l.active():
		return true
	}
	every := l.every
	if l.fresh {
		every = min(every, slow)
	}
	return now >= l.saidAt+every
}

// rested: the record before is long enough ago.
func (l *leak) rested(now time.Duration) bool { return !l.said || now >= l.saidAt+pace }

// forgetAfter is how long the number of records of a leak that is over is
// remembered, so that one that comes again and again has no more than its share.
const forgetAfter = 2 * time.Minute

// done: nothing is open and nothing is to be said.
func (l *leak) done(now time.Duration) bool {
	return l.count() == 0 && l.members == 0 && !l.told && !l.fresh && now >= max(l.saidAt, l.filled)+forgetAfter
}

// eldest is when the oldest of a leak entered its state, since boot. bound: of some
// of the leak that is only known to have been no later.
type eldest struct {
	since time.Duration
	bound bool
}

// oldest looks through all open findings for the oldest of each leak that is due.
func (g *Grouper) oldest(due []*leak, now time.Duration) map[*leak]eldest {
	found := make(map[*leak]eldest, len(due))
	for _, l := range due {
		found[l] = eldest{since: now}
	}
	older := func(l *leak, m *member) {
		if have, ok := found[l]; ok {
			found[l] = eldest{min(have.since, time.Duration(m.since)*tenth), have.bound || !m.exact}
		}
	}
	for _, m := range g.members {
		older(m.leak, &m)
		if m.printed {
			older(m.leak.family, &m)
		}
	}
	return found
}

func (g *Grouper) say(l *leak, oldest eldest, now time.Duration, wall time.Time) {
	r := &g.record
	*r = finding.Group{
		ID: l.id, Kind: l.kind, Status: finding.Open, Time: wall,
		Count: l.count(), Opened: l.opened, Resolved: l.resolved,
		Oldest: max(0, now-oldest.since), AtLeast: oldest.bound,
		Samples: l.samples, Process: l.process, Workload: l.workload, Stack: l.stack,
		Role: l.role, Service: l.service,
	}
	if l.told {
		r.Status = finding.Update
		l.grow(r, now)
		l.every = min(2*l.every, slowest)
	}
	if !l.active() {
		r.Status = finding.Resolved
	}
	r.Message = explain.GroupMessage(r)
	g.out.Group(r)
	l.measure(r, now)
	l.saidAt, l.said, l.fresh = now, true, false
	if l.told = r.Status != finding.Resolved; !l.told {
		// Another one like it has another id.
		l.id, l.opened, l.resolved = "", 0, 0
	}
}
