package owner

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Source walks the descriptors of all processes.
type Source interface {
	Holders(want flow.Wanted, fn func(*flow.Held)) error
}

// Restricted is a Source that may not look into every process.
type Restricted interface {
	// Denied reports whether the last walk left processes out.
	Denied() bool
}

// Query asks for the owner of one socket.
type Query struct {
	Sock *flow.Sock
	// Unaccepted: nobody can hold it; who listens there is wanted.
	Unaccepted bool
	// Opener connected or closed the socket, captured at the boot time
	// Captured at the latest.
	Opener   flow.Task
	Captured time.Duration
	// Peer: who listens at the peer's end, if that is on this host, is wanted.
	Peer bool
	// Last is what an earlier query found, nil if there was none.
	Last *finding.Owner

	// Result is filled in by Resolve.
	Result finding.Owner
	// Server: a process listens on the socket's local port.
	Server bool
	// Full are listeners for the peer's address and port whose accept queue is
	// full, if Peer; whether that address leads to them is left to the caller.
	Full []flow.Held
}

// Resolver finds owners. It is used by one goroutine.
type Resolver struct {
	source Source
	proc   *procFS

	holders   map[uint64][]flow.Held
	listeners map[uint16][]flow.Held
	want      flow.Wanted
	denied    bool
}

// New returns a Resolver that reads programs from the proc file system at root.
func New(source Source, root string) *Resolver {
	return &Resolver{
		source:    source,
		proc:      newProcFS(root),
		holders:   make(map[uint64][]flow.Held),
		listeners: make(map[uint16][]flow.Held),
	}
}

// Resolve answers all queries with one walk over the descriptors.
func (r *Resolver) Resolve(queries []Query) error {
	clear(r.holders)
	clear(r.listeners)
	r.proc.forget()
	if err := r.source.Holders(r.wanted(queries), r.note); err != nil {
		return err
	}
	clear(r.want.Of)
	if source, ok := r.source.(Restricted); ok {
		r.denied = source.Denied()
	}
	for i := range queries {
		r.answer(&queries[i])
	}
	return nil
}

// many is from how many sockets on it is cheaper to look at all in their states
// than to look each one up.
const many = 1024

func (r *Resolver) wanted(queries []Query) flow.Wanted {
	r.want.Socks, r.want.Ports, r.want.States = r.want.Socks[:0], r.want.Ports[:0], 0
	r.want.Of = r.want.Of[:0]
	for i := range queries {
		s := queries[i].Sock
		switch {
		case !s.HasSocket:
		case len(queries) > many:
			r.want.States |= s.State.Bit()
		default:
			r.want.Socks, r.want.Of = append(r.want.Socks, s.Addr), append(r.want.Of, s)
		}
		if queries[i].Unaccepted || s.Role == flow.RoleUnknown {
			r.want.Ports = append(r.want.Ports, s.Local.Port())
		}
		if queries[i].Peer {
			r.want.Ports = append(r.want.Ports, s.Peer.Port())
		}
	}
	slices.Sort(r.want.Ports)
	r.want.Ports = slices.Compact(r.want.Ports)
	return r.want
}

func (r *Resolver) note(h *flow.Held) {
	r.holders[h.Addr] = append(r.holders[h.Addr], *h)
	if h.State == flow.StateListen {
		port := h.Local.Port()
		r.listeners[port] = append(r.listeners[port], *h)
	}
}

func (r *Resolver) answer(q *Query) {
	listener := r.listenerOf(q.Sock)
	q.Server = listener != nil
	if q.Peer {
		q.Full = r.fullAt(q.Sock.Peer)
	}
	switch holders := r.holdersOf(q.Sock); {
	case len(holders) > 0:
		q.Result = r.holding(holders)
	case q.Unaccepted && listener != nil:
		q.Result = r.one(listener.Task, finding.RelationListener)
		q.Result.AcceptQueue, q.Result.AcceptLimit = listener.AcceptQueue, listener.AcceptLimit
	default:
		q.Result = r.past(q)
		q.Result.Denied = r.denied
	}
}

// holdersOf returns who holds s, not who holds what came to its address since
// s was read. Where the kernel can, the walk makes the cookie of a socket that
// nobody had asked for one, and s learns it here.
func (r *Resolver) holdersOf(s *flow.Sock) []flow.Holder {
	var out []flow.Holder
	for i := range r.holders[s.Addr] {
		h := &r.holders[s.Addr][i]
		if s.Cookie == 0 {
			if h.State != s.State || h.Local != s.Local || h.NetNS != s.NetNS {
				continue
			}
			s.Cookie = h.Cookie
		}
		if h.Cookie == s.Cookie {
			out = append(out, h.Holder)
		}
	}
	return out
}

func (r *Resolver) holding(holders []flow.Holder) finding.Owner {
	slices.SortFunc(holders, func(a, b flow.Holder) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.FD, b.FD))
	})
	// Threads with tables of their own show the same descriptor again.
	holders = slices.CompactFunc(holders, func(a, b flow.Holder) bool {
		return a.PID == b.PID && a.FD == b.FD
	})
	o := r.one(holders[0].Task, finding.RelationHolder)
	o.Process.FD = int(holders[0].FD)
	o.Total = len(holders)
	o.Holders = slices.Clone(holders[:min(len(holders), finding.MaxHolders)])
	return o
}

func (r *Resolver) one(task flow.Task, relation finding.Relation) finding.Owner {
	p := finding.Process{Task: task, Relation: relation, FD: -1}
	if path, ok := r.proc.program(task.PID, task.StartBoot); ok {
		p.Path, p.Executable = path, baseName(path)
	}
	return finding.Owner{Process: p}
}

// past names who had the socket, now that nobody has.
func (r *Resolver) past(q *Query) finding.Owner {
	if q.Last != nil && held(&q.Last.Process) {
		return r.closer(q.Last, q.Sock.HasSocket)
	}
	if !q.Opener.Known() {
		return nobody()
	}
	relation := finding.RelationCloser
	if q.Sock.State == flow.StateSynSent {
		relation = finding.RelationConnector
	}
	return r.captured(q.Opener, q.Captured, relation)
}

// held tells a process that a walk found from one that the kernel captured:
// only of the first it is known when it started.
func held(p *finding.Process) bool {
	switch p.Relation {
	case finding.RelationHolder, finding.RelationLastHolder:
		return true
	case finding.RelationCloser:
		return p.StartBoot != 0
	}
	return false
}

// closer names who held the socket last, but not by a pid that is another's now.
// A socket that is still open was not closed: its descriptor is in a message
// (SCM_RIGHTS), in an io_uring, or in a process that is not seen from here.
func (r *Resolver) closer(last *finding.Owner, open bool) finding.Owner {
	o := *last
	o.Holders, o.Total = nil, 0
	p := &o.Process
	p.Relation, p.FD = finding.RelationCloser, -1
	if open {
		p.Relation = finding.RelationLastHolder
	}
	if is, alive := r.proc.process(p.PID); alive && !is.Began(p.StartBoot) {
		p.PID, p.TID = 0, 0
	}
	return o
}

// captured names a task by what the kernel knew of it. What runs under its pid
// now is believed only if it ran then.
func (r *Resolver) captured(task flow.Task, at time.Duration, relation finding.Relation) finding.Owner {
	p := finding.Process{Task: task, Relation: relation, FD: -1}
	is, alive := r.proc.process(task.PID)
	switch {
	case !alive:
		// The pid is history, and nobody else's.
	case is.Start > at, is.Start > at-doubtful && is.Name != task.Comm:
		p.PID, p.TID = 0, 0
	case is.Kernel:
		return nobody()
	default:
		if path, ok := r.proc.program(task.PID, is.Start); ok {
			p.Path, p.Executable = path, baseName(path)
		}
	}
	return finding.Owner{Process: p}
}

// doubtful is how long before a capture a process that was not there yet may
// seem to have started: /proc counts in hundredths, and the beginning of a
// minisocket is only known in jiffies.
const doubtful = 20 * time.Millisecond

func nobody() finding.Owner { return finding.Owner{Process: finding.Process{FD: -1}} }

// listenerOf finds who listens where s arrived. With SO_REUSEPORT it may be one
// of several; the one with the lowest pid is named.
func (r *Resolver) listenerOf(s *flow.Sock) *flow.Held {
	var best *flow.Held
	list := r.listeners[s.Local.Port()]
	for i := range list {
		l := &list[i]
		if l.NetNS != s.NetNS || !covers(l.Local.Addr(), s.Local.Addr()) {
			continue
		}
		if best == nil || cmp.Or(
			cmp.Compare(distance(l, s.Local.Addr()), distance(best, s.Local.Addr())), cmp.Compare(l.PID, best.PID),
		) < 0 {
			best = l
		}
	}
	return best
}

// distance orders the listeners that cover an address as the kernel does: its address,
// any address of its family, any IPv6 address (net/ipv4/inet_hashtables.c,
// compute_score).
func distance(l *flow.Held, local netip.Addr) int {
	switch at := l.Local.Addr(); {
	case at == local:
		return 0
	case at.Is4() == local.Is4():
		return 1
	}
	return 2
}

// covers reports whether a listener at addr takes connections to local; an
// IPv6 wildcard takes IPv4 ones too, unless IPV6_V6ONLY, and then there is no
// such connection.
func covers(addr, local netip.Addr) bool {
	return addr == local || (isAny(addr) && (addr.Is6() || local.Is4()))
}

// isAny also knows the IPv4 wildcard.
func isAny(a netip.Addr) bool { return a.IsUnspecified() }
