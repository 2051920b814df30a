// Package listing takes a picture of the sockets of one moment, without a
// daemon: what is in limbo, for how long at least, who holds it and why.
package listing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
	"github.com/tcplimbo/tcplimbo/userspace/peer"
)

// Kernel reads sockets.
type Kernel interface {
	owner.Source
	peer.Source
	Walk(want flow.WalkStates, fn func(*flow.Sock)) error
	Read(socks []*flow.Sock, track bool) error
	owner.Addresses
	// Causes fills in why connects are not answered.
	Causes(socks []*flow.Sock) error
}

// Filter selects sockets; zero values select all in limbo.
type Filter struct {
	// All includes sockets that are not in limbo, listeners too.
	All    bool
	States flow.StateSet
	// OlderThan is how long a socket must have been in its state at least.
	OlderThan time.Duration
	PID       uint32
	NetNS     uint32
	Port      uint16
	// OtherEnds asks for the other ends of what is in limbo too, which costs a
	// second walk.
	OtherEnds bool
}

// limboStates are those that are never meant to last; ESTABLISHED is, unless its
// data does not move.
const limboStates = 1<<flow.StateSynSent | 1<<flow.StateFinWait1 | 1<<flow.StateFinWait2 |
	1<<flow.StateCloseWait | 1<<flow.StateLastAck | 1<<flow.StateClosing | 1<<flow.StateEstablished

const allStates = limboStates | 1<<flow.StateSynRecv | 1<<flow.StateListen |
	1<<flow.StateTimeWait

func (f *Filter) states() flow.StateSet {
	switch {
	case f.States != 0:
		return f.States
	case f.All:
		return allStates
	}
	return limboStates
}

// Collect returns the sockets of this moment, the oldest first. Their messages are
// left to who wants to show them.
func Collect(kernel Kernel, filter Filter, procRoot string, now time.Time) ([]finding.Finding, error) {
	states := filter.states()
	var rows []finding.Finding
	want := flow.WalkStates{States: states, TimeWait: states.Has(flow.StateTimeWait)}
	if !filter.healthy() {
		want.Waiting, want.Quiet = true, passing
	}
	err := kernel.Walk(want, func(s *flow.Sock) {
		if states.Has(s.State) && filter.fits(s) && !filter.passes(s) {
			rows = append(rows, row(s, now))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("walking connections: %w", err)
	}
	if rows, err = judgeAgain(kernel, rows, &filter, now); err != nil {
		return nil, err
	}
	var ends []*flow.Sock
	if filter.OtherEnds {
		if ends, err = otherEnds(kernel, rows); err != nil {
			return nil, err
		}
	}
	if err := addCauses(kernel, rows); err != nil {
		return nil, err
	}
	if err := addOwners(kernel, rows, ends, procRoot); err != nil {
		return nil, err
	}
	if states.Has(flow.StateListen) {
		if rows, err = addListeners(kernel, rows, &filter, procRoot, now); err != nil {
			return nil, err
		}
	}
	rows = slices.DeleteFunc(rows, func(f finding.Finding) bool { return !filter.holds(&f) })
	return sorted(rows), nil
}

// sorted returns the rows with the oldest first. They are large, so what is moved
// about are pointers.
func sorted(rows []finding.Finding) []finding.Finding {
	order := make([]*finding.Finding, len(rows))
	for i := range rows {
		order[i] = &rows[i]
	}
	slices.SortStableFunc(order, older)
	out := make([]finding.Finding, len(rows))
	for i, row := range order {
		out[i] = *row
	}
	return out
}

// older puts the longest wait first, equal ones in a stable order.
func older(a, b *finding.Finding) int {
	return cmp.Or(
		cmp.Compare(b.Duration, a.Duration),
		a.Sock.Local.Compare(b.Sock.Local),
		a.Sock.Peer.Compare(b.Sock.Peer),
	)
}

func (f *Filter) fits(s *flow.Sock) bool {
	return (f.NetNS == 0 || s.NetNS == f.NetNS) &&
		(f.Port == 0 || s.Local.Port() == f.Port || s.Peer.Port() == f.Port) &&
		(s.State == flow.StateEstablished || detect.AgeBound(s) >= f.OlderThan)
}

func (f *Filter) holds(row *finding.Finding) bool {
	if f.PID == 0 || row.Owner.Process.PID == f.PID {
		return true
	}
	return slices.ContainsFunc(row.Owner.Holders, func(h flow.Holder) bool { return h.PID == f.PID })
}

func row(s *flow.Sock, now time.Time) finding.Finding { return rowOf(s, detect.AgeBound(s), now) }

// rowOf is of a socket that has been in its state for age at least.
func rowOf(s *flow.Sock, age time.Duration, now time.Time) finding.Finding {
	f := finding.Finding{
		Status:   finding.Open,
		Time:     now,
		Since:    now.Add(-age),
		Duration: age,
		Sock:     *s,
		Live:     true,
		Owner:    finding.Owner{Process: finding.Process{FD: -1}},
		GivesUp:  explain.GivesUp(s),
	}
	kind := finding.KindOf(s.State)
	if kind == finding.KindNone || kind == finding.EstablishedStalled {
		// Nothing proves how long a healthy socket has been in its state.
		f.Since, f.Duration = time.Time{}, -1
		return f
	}
	f.Kind, f.Reason = kind, detect.Reason(kind, s, age, age)
	if sending(s) {
		f.Reason = finding.StillSending
	}
	return f
}

// otherEnds returns the other end of each row in limbo, nil for the rest.
func otherEnds(source peer.Source, rows []finding.Finding) ([]*flow.Sock, error) {
	var stuck []*flow.Sock
	var places []int
	for i := range rows {
		if rows[i].Kind != finding.KindNone {
			stuck, places = append(stuck, &rows[i].Sock), append(places, i)
		}
	}
	found, err := peer.Find(source, stuck)
	if err != nil {
		return nil, err
	}
	ends := make([]*flow.Sock, len(rows))
	for i, place := range places {
		// They are not read again: where data moves it is not told.
		if end := found[i]; end != nil && peer.Joined(stuck[i], end) {
			ends[place] = end
		}
	}
	return ends, nil
}

// addCauses says why connects wait, as far as one reading tells: not whether this
// host drops their SYNs, because it would have to look on while it does.
func addCauses(kernel Kernel, rows []finding.Finding) error {
	var connects []*flow.Sock
	for i := range rows {
		if rows[i].Kind == finding.SynSentStalled {
			connects = append(connects, &rows[i].Sock)
		}
	}
	if err := kernel.Causes(connects); err != nil {
		return fmt.Errorf("reading causes: %w", err)
	}
	for i := range rows {
		if f := &rows[i]; f.Kind == finding.SynSentStalled {
			f.Reason = detect.Reason(f.Kind, &f.Sock, f.Duration, f.Duration)
		}
	}
	return nil
}

// addOwners looks once for who holds the rows and their other ends.
func addOwners(source Kernel, rows []finding.Finding, ends []*flow.Sock, procRoot string) error {
	queries := make([]owner.Query, 0, len(rows))
	for i := range rows {
		if s := &rows[i].Sock; !s.TimeWait {
			queries = append(queries, owner.Query{
				Sock: s, Unaccepted: detect.Unaccepted(s), Peer: rows[i].Reason == finding.NoReply,
			})
		}
	}
	for _, end := range ends {
		if end != nil {
			queries = append(queries, owner.Query{Sock: end})
		}
	}
	if len(queries) == 0 {
		return nil
	}
	resolver := owner.New(source, procRoot)
	if err := resolver.Resolve(queries); err != nil {
		return fmt.Errorf("finding holders: %w", err)
	}
	for i := range rows {
		if rows[i].Sock.TimeWait {
			continue
		}
		q := &queries[0]
		queries = queries[1:]
		rows[i].Owner = q.Result
		l, err := resolver.Overflowing(q, source)
		if err != nil {
			return fmt.Errorf("looking for a full listener: %w", err)
		}
		if l != nil {
			rows[i].Reason, rows[i].Listener = finding.ListenerOverflow, l
		}
		if q.Server && rows[i].Sock.Role == flow.RoleUnknown {
			rows[i].Sock.Role = flow.RoleServer
		}
	}
	for i, end := range ends {
		if end != nil {
			rows[i].Peer = peer.Describe(end, &queries[0].Result)
			queries = queries[1:]
		}
	}
	return nil
}

// addListeners adds the listening sockets; they are not in the table of
// connections, but each has a holder.
func addListeners(source Kernel, rows []finding.Finding, filter *Filter, procRoot string, now time.Time) ([]finding.Finding, error) {
	seen := map[uint64]bool{}
	first := len(rows)
	err := source.Holders(flow.Wanted{States: flow.StateListen.Bit()}, func(h *flow.Held) {
		s := flow.Sock{
			ID:    flow.ID{Key: h.Key, Local: h.Local, NetNS: h.NetNS},
			State: h.State, HasSocket: true, Role: flow.RoleServer,
			AcceptQueue: h.AcceptQueue, AcceptLimit: h.AcceptLimit,
		}
		if seen[h.Addr] || !filter.fits(&s) {
			return
		}
		seen[h.Addr] = true
		f := row(&s, now)
		f.Live = false
		rows = append(rows, f)
	})
	if err != nil {
		return nil, fmt.Errorf("finding listeners: %w", err)
	}
	return rows, addOwners(source, rows[first:], nil, procRoot)
}
