package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/origin"
	"github.com/tcplimbo/tcplimbo/userspace/origin/names"
)

// nameWithin is how long list waits for names; without them it says ids.
const nameWithin = 500 * time.Millisecond

// addOrigins says in which containers the sockets are, and reports whether any is.
// Runtimes are asked only then.
func addOrigins(ctx context.Context, rows []finding.Finding, runtime string) bool {
	ctx, cancel := context.WithTimeout(ctx, nameWithin)
	defer cancel()
	known := names.New(zerolog.Nop(), sources(runtime)...)
	defer known.Close()
	groups := origin.OpenGroups(procRoot)
	if groups != nil {
		defer groups.Close()
		if anyOrphan(rows) {
			groups.Walk(ctx)
		}
	}
	met := &places{seen: map[origin.Place]bool{}}
	resolver := origin.New(procRoot, groups, met)
	eachEnd(rows, func(p *finding.Process, s *flow.ID, _ **finding.Workload) { resolver.Of(p, s, 0, 0) })
	if len(met.all) == 0 {
		return false
	}
	known.Look(ctx, met.all)
	resolver.Rename(known)
	eachEnd(rows, func(p *finding.Process, s *flow.ID, w **finding.Workload) { *w = resolver.Of(p, s, 0, 0) })
	return true
}

// eachEnd calls fn for each end of each connection.
func eachEnd(rows []finding.Finding, fn func(*finding.Process, *flow.ID, **finding.Workload)) {
	for i := range rows {
		row := &rows[i]
		fn(&row.Owner.Process, &row.Sock.ID, &row.Workload)
		if p := row.Peer; p != nil {
			fn(&p.Owner.Process, &flow.ID{CgroupID: p.CgroupID}, &p.Workload)
		}
	}
}

// anyOrphan reports whether a socket has no process to be looked for by.
func anyOrphan(rows []finding.Finding) bool {
	orphan := false
	eachEnd(rows, func(p *finding.Process, s *flow.ID, _ **finding.Workload) {
		orphan = orphan || (!p.Known() && s.CgroupID != 0)
	})
	return orphan
}

// places remembers what it is asked for, and knows no names.
type places struct {
	seen map[origin.Place]bool
	all  []origin.Place
}

func (p *places) Workload(at origin.Place) *finding.Workload {
	if !p.seen[at] {
		p.seen[at] = true
		p.all = append(p.all, at)
	}
	return nil
}
