package detect

import (
	"cmp"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Event takes a kernel record into account.
func (d *Detector) Event(e *flow.Event) {
	ent := d.entries[e.Addr]
	if ent != nil && !sameLife(ent.sock.ID, e.ID) {
		if e.Time < ent.seen {
			return // about the socket that had the address before
		}
		// The address serves another socket; the end of the first was lost.
		d.end(ent, goneOutcome(ent, e.Time), e.Time)
		ent = nil
	}
	switch e.Kind {
	case flow.EventPromoted:
		d.promoted(ent, e)
	case flow.EventTransition:
		d.transition(ent, e)
	case flow.EventRetransmit:
		d.retransmits(ent, e)
	case flow.EventNone, flow.EventKindCount:
	}
}

func (d *Detector) promoted(ent *entry, e *flow.Event) {
	if !d.watched(e.New) {
		return
	}
	switch {
	case ent == nil:
		ent = d.add(e.ID, e.New, e.Since, true)
		ent.sock.TimeWait, ent.sock.Dead = e.TimeWait, e.Orphan
		if e.Since == 0 {
			ent.since, ent.exact = e.Time, false
		}
	case ent.kind == finding.KindOf(e.New):
	case e.Since <= ent.since:
		// Another CPU's transition overtook it: the next state is known already.
		return
	default:
		d.move(ent, e.New, e.Since, finding.OutcomeUnknown, e.Time)
	}
	ent.tracked = !e.Untracked
	if e.Task.Known() {
		ent.opener = e.Task
	}
	if ent.flag == nil && e.New == ent.state && e.Since > 0 && (!ent.exact || e.Since > ent.since) {
		// A slot knows the beginning better than a walk, and a second slot
		// better than the first.
		ent.since, ent.exact = e.Since, true
	}
	if ent.sock.Cookie == 0 && !ent.sock.Peer.IsValid() {
		// Nothing but the address: read it before it serves another socket.
		d.schedule(ent, e.Time)
		return
	}
	d.plan(ent, e.Time)
}

func (d *Detector) transition(ent *entry, e *flow.Event) {
	if ent == nil {
		if !d.watched(e.New) {
			return
		}
		ent = d.add(e.ID, e.New, e.Time, true)
	}
	known := ent.sock.ID
	ent.sock.ID, ent.sock.Dead = e.ID, e.Orphan
	// What events do not carry, or not on every kernel.
	ent.sock.CgroupID, ent.sock.Cookie = known.CgroupID, cmp.Or(e.Cookie, known.Cookie)
	ent.missed = false
	if e.Task.Known() {
		ent.opener = e.Task
	}
	switch {
	case e.Successor != 0:
		d.succeed(ent, e.Successor, e.Time)
	case finding.KindOf(e.New) == ent.kind:
		ent.state, ent.sock.State = e.New, e.New
		d.plan(ent, e.Time)
	default:
		d.move(ent, e.New, e.Time, EventOutcome(e), e.Time)
	}
}

// succeed goes on with the minisocket that a closed FIN_WAIT2 socket leaves
// behind: for the peer nothing has changed, only the reason is another one.
func (d *Detector) succeed(ent *entry, addr uint64, now time.Duration) {
	if other := d.entries[addr]; other != nil && other != ent {
		if other.flag != nil && ent.sock.Cookie != 0 && other.sock.Cookie == ent.sock.Cookie {
			// A walk was faster than the event, and its finding is said already.
			d.end(ent, finding.OutcomeUnknown, now)
			return
		}
		d.end(other, finding.OutcomeUnknown, now)
	}
	delete(d.entries, ent.sock.Addr)
	ent.sock.Addr = addr
	ent.sock.TimeWait, ent.sock.Dead = true, true
	d.entries[addr] = ent
	d.plan(ent, now)
	if ent.flag != nil {
		d.schedule(ent, now)
	}
}

// move takes a socket from one kind to another or out of all of them.
func (d *Detector) move(ent *entry, state flow.State, since time.Duration, outcome finding.Outcome, now time.Duration) {
	if !d.watched(state) {
		d.end(ent, outcome, now)
		return
	}
	d.resolve(ent, outcome, now)
	d.count(ent, -1)
	ent.kind, ent.state, ent.sock.State = finding.KindOf(state), state, state
	ent.since, ent.exact, ent.due, ent.decided = since, true, 0, false
	d.count(ent, 1)
	d.plan(ent, now)
}

// end resolves what is open and forgets the socket.
func (d *Detector) end(ent *entry, outcome finding.Outcome, now time.Duration) {
	d.resolve(ent, outcome, now)
	d.remove(ent)
}

func (d *Detector) resolve(ent *entry, outcome finding.Outcome, now time.Duration) {
	if ent.flag == nil {
		return
	}
	v := d.verdict(ent, finding.Resolved, now)
	v.Outcome = outcome
	d.unflag(ent)
}
