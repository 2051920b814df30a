package console

import (
	"strconv"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

const (
	maxName = 64
	// A person needs a few holders to find the others.
	maxHolders = 4
)

// factsOf returns what the finding stands on, the most telling first and the
// id last.
func factsOf(f *finding.Finding) []string {
	var facts []string
	add := func(fact string) {
		if fact != "" {
			facts = append(facts, fact)
		}
	}
	add(connection(&f.Sock))
	add(workload(f.Workload))
	if f.Sock.NetNS != 0 {
		add("netns " + decimal(uint64(f.Sock.NetNS)))
	}
	if f.Status == finding.Resolved {
		add("outcome " + outcome(f.Outcome))
	} else if f.Reason != finding.ReasonNone {
		add(f.Reason.String())
	}
	add(age(f))
	if f.Live && !f.Sock.TimeWait && !f.Sock.Gone {
		add(queues(&f.Sock))
		add(retransmits(&f.Sock))
	}
	if f.Status != finding.Resolved {
		add(givesUp(f.GivesUp))
	}
	if f.Owner.Total > 1 {
		add("held by " + holders(&f.Owner))
	}
	add(stackOf(f.Stack))
	add(goroutinesOf(f.Goroutines))
	if f.ID != "" {
		add("id " + readable.Safe(f.ID, maxName))
	}
	return facts
}

// connection returns local and peer, the arrow from client to server where the
// role is known.
func connection(s *flow.Sock) string {
	if !s.Local.IsValid() && !s.Peer.IsValid() {
		return ""
	}
	arrow := " -- "
	switch s.Role {
	case flow.RoleClient:
		arrow = " -> "
	case flow.RoleServer:
		arrow = " <- "
	case flow.RoleUnknown:
	}
	dst := readable.AppendAddrPort(nil, s.Local)
	return string(readable.AppendAddrPort(append(dst, arrow...), s.Peer))
}

// age returns how long the socket is, or was, in its state.
func age(f *finding.Finding) string {
	if f.Duration < 0 || f.Sock.State == flow.StateUnknown {
		return ""
	}
	state := f.Sock.State.Label()
	if f.Kind == finding.EstablishedStalled {
		state += ", stalled" // it is not the connection's age
	}
	if !f.Since.IsZero() && !f.SinceExact {
		return state + " for at least " + readable.Age(f.Duration)
	}
	return state + " for " + readable.Age(f.Duration)
}

// queues names the queues that hold something. That none does is a fact too.
func queues(s *flow.Sock) string {
	var dst []byte
	for _, q := range []struct {
		bytes uint32
		name  string
	}{{s.Unread(), " unread"}, {s.Unacked(), " unacked"}, {s.Unsent(), " unsent"}} {
		if q.bytes == 0 {
			continue
		}
		if len(dst) > 0 {
			dst = append(dst, " + "...)
		}
		dst = append(readable.AppendSize(dst, uint64(q.bytes)), q.name...)
	}
	switch fin := s.FinUnacked(); {
	case len(dst) == 0 && fin:
		return "FIN unacked"
	case len(dst) == 0:
		return "queues empty"
	case fin:
		dst = append(dst, " + FIN"...)
	}
	return string(dst)
}

func retransmits(s *flow.Sock) string {
	switch {
	case s.Retransmits == 0:
		return ""
	case s.RTO <= 0:
		return "retransmits " + decimal(uint64(s.Retransmits))
	}
	return "retransmits " + decimal(uint64(s.Retransmits)) + " (RTO " + readable.Age(s.RTO) + ")"
}

// anyMoment is shorter than reading takes.
const anyMoment = 100 * time.Millisecond

func givesUp(g finding.GivesUp) string {
	switch {
	case !g.Known:
		return ""
	case g.Never:
		return "never ends by itself"
	case g.In < anyMoment:
		return "ends by itself any moment"
	}
	return "ends by itself in " + readable.Age(g.In)
}

func holders(o *finding.Owner) string {
	var names []string
	for _, h := range o.Holders[:min(len(o.Holders), maxHolders)] {
		names = append(names, decimal(uint64(h.PID))+"/"+decimal(uint64(h.FD)))
	}
	if more := o.Total - len(names); more > 0 {
		names = append(names, "and "+decimal(uint64(more))+" more")
	}
	return strings.Join(names, " ")
}

func outcome(o finding.Outcome) string {
	if o == finding.OutcomeNone {
		o = finding.OutcomeUnknown
	}
	return o.String()
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
