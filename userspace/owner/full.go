package owner

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// fullAt returns the listeners that would take a connection to the address, were
// their queues not full: of each network namespace those that the kernel prefers,
// in each the holder with the lowest pid first.
func (r *Resolver) fullAt(to netip.AddrPort) []flow.Held {
	nearest := make(map[uint32]int)
	list := r.listeners[to.Port()]
	for i := range list {
		l := &list[i]
		if !covers(l.Local.Addr(), to.Addr()) {
			continue
		}
		d := distance(l, to.Addr())
		if best, ok := nearest[l.NetNS]; !ok || d < best {
			nearest[l.NetNS] = d
		}
	}
	var full []flow.Held
	for i := range list {
		l := &list[i]
		if covers(l.Local.Addr(), to.Addr()) && distance(l, to.Addr()) == nearest[l.NetNS] && overflows(l) {
			full = append(full, *l)
		}
	}
	slices.SortFunc(full, func(a, b flow.Held) int {
		return cmp.Or(cmp.Compare(a.NetNS, b.NetNS), cmp.Compare(a.PID, b.PID), cmp.Compare(a.FD, b.FD))
	})
	return full
}

// overflows reports whether the kernel drops SYNs for a listener (include/net/
// sock.h, sk_acceptq_is_full). One more than the limit fits.
func overflows(l *flow.Held) bool { return l.AcceptQueue > l.AcceptLimit }

// Listener describes a listener that Resolve found.
func (r *Resolver) Listener(l *flow.Held) *finding.Listener {
	p := r.one(l.Task, finding.RelationListener).Process
	p.FD = int(l.FD)
	return &finding.Listener{Process: p, Queue: l.AcceptQueue, Limit: l.AcceptLimit}
}
