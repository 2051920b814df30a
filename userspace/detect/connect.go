package detect

import (
	"strings"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// synSentReason says why a SYN is not answered. What this host does to it comes
// before what was heard of the way.
func synSentReason(s *flow.Sock) finding.Reason {
	switch {
	case s.SYN.Drop != nil && !noWay(s.SYN.Drop.Reason):
		return finding.DroppedLocally
	case s.SYN.Drop != nil, softError(s), s.SYN.NextHopSilent:
		return finding.Unreachable
	}
	return finding.NoReply
}

// softError reports whether an error that says that there is no way to the peer is
// noted on the socket. A path MTU (EMSGSIZE) is noted there too.
func softError(s *flow.Sock) bool {
	o, ok := errnoOutcome(s.SoftErr)
	return ok && o == finding.OutcomeUnreachable
}

// noWay reports whether a drop reason says that there is no way to the peer, and
// not that somebody decided against the packet (include/net/dropreason-core.h).
func noWay(reason string) bool {
	switch reason {
	case "IP_OUTNOROUTES", "QUEUE_PURGE", "DEV_READY":
		// A neighbour's queue is emptied when it, or its device, goes away.
		return true
	}
	return strings.HasPrefix(reason, "NEIGH_")
}

// keepDrop makes of a reading's drop what can be said in view of the one before.
// The kernel counts a retransmission shortly before it sends it, so one reading
// that finds the last SYN not dropped may have come between; and a drop that is
// not remembered any more is no sign that there was none. It returns whether the
// last SYN was found not dropped.
func keepDrop(now, before *flow.SYN, undropped bool) bool {
	switch {
	case now.Drop != nil, before.Drop == nil:
		return false
	case now.DropPast && undropped:
		return true
	}
	now.Drop = before.Drop
	return now.DropPast
}

// Connecting returns how many sockets in SYN_SENT are watched.
func (d *Detector) Connecting() int { return d.connecting }

// count keeps the numbers by kind, as an entry takes its kind or gives it up.
func (d *Detector) count(e *entry, n int) {
	if e.kind == finding.SynSentStalled {
		d.connecting += n
	}
}

// MayOverflow reports whether a listener on this host could be why an open or
// updated finding's connect waits.
func MayOverflow(v *Verdict) bool {
	return v.Kind == finding.SynSentStalled && v.Status != finding.Resolved &&
		(v.Reason == finding.NoReply || v.Reason == finding.ListenerOverflow)
}

// Overflow takes into account whether the listener that a connect is meant for was
// found to have a full queue; nil if not. Only for what MayOverflow.
func (d *Detector) Overflow(v *Verdict, l *finding.Listener) {
	v.Listener, v.Reason = l, finding.NoReply
	if l != nil {
		v.Reason = finding.ListenerOverflow
	}
	if ent := v.entry; ent.flag != nil && ent.id == v.ID {
		ent.listener, ent.reason = l, v.Reason
	}
}

// EventOutcome is outcomeOf of a transition. That knows the local port: a connect
// that ended without one never found one that was free (net/ipv4/tcp_ipv4.c,
// tcp_v4_connect).
func EventOutcome(e *flow.Event) finding.Outcome {
	o := outcomeOf(e.Old, e.New, e.Err)
	if o == finding.OutcomeCanceled && e.Local.Port() == 0 {
		return finding.OutcomePortExhausted
	}
	return o
}
