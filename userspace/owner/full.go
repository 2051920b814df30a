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

// Addresses knows the addresses of network namespaces.
type Addresses interface {
	// HasAddress reports whether the network namespace of a socket has an address.
	HasAddress(sock flow.Key, addr netip.Addr) (bool, error)
}

// Overflowing returns the full listener that the SYN of an answered query with
// Peer arrives at, nil if there is none. A listener in another network namespace
// is one only if the peer's address is that namespace's and not the connecting
// one's own.
func (r *Resolver) Overflowing(q *Query, known Addresses) (*finding.Listener, error) {
	if len(q.Full) == 0 {
		return nil, nil
	}
	own, err := isOwn(q.Sock, known)
	if err != nil {
		return nil, err
	}
	for i := range q.Full {
		l := &q.Full[i]
		if here := l.NetNS == q.Sock.NetNS; here != own {
			continue
		}
		there := own
		if !own {
			if there, err = known.HasAddress(l.Key, q.Sock.Peer.Addr()); err != nil {
				return nil, err
			}
		}
		if there {
			return r.listener(l), nil
		}
	}
	return nil, nil
}

// isOwn reports whether a connect stays in its network namespace.
func isOwn(s *flow.Sock, known Addresses) (bool, error) {
	if s.Peer.Addr().IsLoopback() || s.Peer.Addr() == s.Local.Addr() {
		return true, nil
	}
	return known.HasAddress(s.Key, s.Peer.Addr())
}

func (r *Resolver) listener(l *flow.Held) *finding.Listener {
	p := r.one(l.Task, finding.RelationListener).Process
	p.FD = int(l.FD)
	return &finding.Listener{Process: p, Queue: l.AcceptQueue, Limit: l.AcceptLimit}
}
