package group

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// By is what a summary puts together.
type By string

// The ways to put sockets together: by program, by service, by where the program
// was when it connected or accepted, by pod or container.
const (
	ByProcess By = "process"
	ByPeer    By = "peer"
	ByStack   By = "stack"
	ByPod     By = "pod"
)

// summary adds up what shares a key.
type summary struct {
	by     By
	groups map[summaryKey]*finding.Group
}

type summaryKey struct {
	kind    finding.Kind
	name    string
	stack   uint64
	role    flow.Role
	service netip.AddrPort
}

// Summarize counts sockets by what they share, the most first.
func Summarize(rows []finding.Finding, by By) []finding.Group {
	s := summary{by: by, groups: make(map[summaryKey]*finding.Group)}
	for i := range rows {
		f := &rows[i]
		sig := sign(f)
		s.add(&sig, &f.Owner.Process, f.Workload, f.Stack, f.Duration, f.SinceExact)
	}
	return s.sorted()
}

// Summary counts the open findings by what they share, the most first. now is the
// time since boot.
func (g *Grouper) Summary(by By, now time.Duration) []finding.Group {
	s := summary{by: by, groups: make(map[summaryKey]*finding.Group)}
	for _, m := range g.members {
		l := m.leak
		s.add(&l.signature, &l.process, l.workload, l.stack, max(0, now-time.Duration(m.since)*tenth), m.exact)
	}
	return s.sorted()
}

func (s *summary) add(sig *signature, p *finding.Process, w *finding.Workload, st *finding.Stack, age time.Duration, exact bool) {
	key := summaryKey{kind: sig.kind}
	var g finding.Group
	switch s.by {
	case ByProcess:
		key.name, g.Process = sig.program, *p
	case ByPeer:
		key.role, key.service = sig.role, sig.service
		g.Role, g.Service = sig.role, sig.service
	case ByStack:
		key.stack, g.Stack = sig.stack, st
		if sig.stack == 0 && st != nil {
			key.name = st.Missing
		}
	case ByPod:
		key.name, g.Workload = podOf(w), w
	}
	have, ok := s.groups[key]
	if !ok {
		g.Kind, g.Oldest = sig.kind, -1
		have = &g
		s.groups[key] = have
	}
	have.Count++
	have.Oldest = max(have.Oldest, age)
	have.AtLeast = have.AtLeast || !exact
	if s.by == ByProcess && have.Process.PID != p.PID {
		have.Process.PID = 0
	}
}

// podOf names the pod, or the container that is in none.
func podOf(w *finding.Workload) string {
	if w != nil && w.PodUID != "" {
		return w.PodUID
	}
	return containerOf(w)
}

func (s *summary) sorted() []finding.Group {
	keys := make([]summaryKey, 0, len(s.groups))
	for k := range s.groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b summaryKey) int {
		return cmp.Or(
			cmp.Compare(s.groups[b].Count, s.groups[a].Count), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name),
			a.service.Compare(b.service), cmp.Compare(a.role, b.role), cmp.Compare(a.stack, b.stack),
		)
	})
	all := make([]finding.Group, 0, len(keys))
	for _, k := range keys {
		all = append(all, *s.groups[k])
	}
	return all
}
