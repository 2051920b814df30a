package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// ESTABLISHED is where a healthy socket spends its life, so being there for long
// says nothing. Its finding begins when what waits stopped to move: that is told
// by two readings with nothing moved between them, and by stamps of the kernel
// that prove more.

// candidatesMax bounds the ESTABLISHED sockets that are watched and not flagged.
// A walk that finds more leaves them to the next one.
const candidatesMax = 1 << 16

// Stalls takes an ESTABLISHED socket into account that a walk came across,
// because something waits there.
func (d *Detector) Stalls(s *flow.Sock, now time.Duration) {
	if d.cfg.Threshold[finding.EstablishedStalled] == 0 {
		return
	}
	ent := d.entries[s.Addr]
	if ent != nil && !sameLife(ent.sock.ID, s.ID) {
		d.end(ent, finding.OutcomeUnknown, now)
		ent = nil
	}
	switch {
	case ent == nil:
		if ent = d.candidate(s.ID); ent == nil {
			return
		}
	case ent.kind != finding.EstablishedStalled:
		d.schedule(ent, now) // its event is late, or lost
		return
	case ent.flag != nil:
		return
	}
	ent.seen = now
	ent.mark.take(&ent.sock, s, now)
	d.learn(ent, s, now)
	if reason, _ := ent.over(s, now, d.threshold(ent)); reason != finding.ReasonNone {
		d.schedule(ent, now)
		return
	}
	d.await(ent, now)
}

// crowded: no more candidates are taken.
func (d *Detector) crowded() bool { return len(d.entries)-d.flagged >= candidatesMax }

// candidate adds an ESTABLISHED socket that may be stuck; nil if there are too many.
func (d *Detector) candidate(id flow.ID) *entry {
	if d.crowded() {
		return nil
	}
	// Any other state it is seen in later is later than this one: since is 0.
	ent := d.add(id, flow.StateEstablished, 0, false)
	ent.mark, ent.tracked = noMark, false
	return ent
}

// await plans the next look at a socket that is not flagged; without anything
// that waits it is forgotten, and with what may well move it is set aside.
func (d *Detector) await(ent *entry, now time.Duration) {
	threshold := d.threshold(ent)
	next, ok := ent.mark.next(now, threshold)
	switch {
	case !ok:
		d.remove(ent)
	case threshold == 0:
		d.schedule(ent, now+idlePoll)
	case d.setAside(ent, next, now):
		d.remove(ent)
	default:
		d.schedule(ent, next)
	}
}

// retransmits takes the event of an ESTABLISHED socket that keeps retransmitting.
func (d *Detector) retransmits(ent *entry, e *flow.Event) {
	if ent != nil || e.New != flow.StateEstablished || d.cfg.Threshold[finding.EstablishedStalled] == 0 {
		return
	}
	if d.asides.has(e.ID) {
		return // it moved at the last glance, and the next one is in time for what stopped since
	}
	if ent = d.candidate(e.ID); ent != nil {
		d.schedule(ent, e.Time)
	}
}

// judgeStall decides about an ESTABLISHED socket.
func (d *Detector) judgeStall(ent *entry, s *flow.Sock, now time.Duration) {
	before := ent.sock
	ent.missed = false
	ent.mark.take(&before, s, now)
	d.learn(ent, s, now)
	if ent.flag != nil && Moved(ent.reason, &before, s) {
		d.resolve(ent, finding.OutcomeRecovered, now)
		ent.since = 0
	}
	if ent.flag != nil {
		d.goOn(ent, s, now)
		return
	}
	threshold := d.threshold(ent)
	reason, since := ent.over(s, now, threshold)
	if reason == finding.ReasonNone {
		d.await(ent, now)
		return
	}
	ent.since = since
	ent.exact = reason == finding.PeerSilent && now-since <= unheard(s)+ackMargin
	d.open(ent, reason, now, threshold)
	d.plan(ent, now)
}

// over is mark.over, if the socket is not to be left alone.
func (ent *entry) over(s *flow.Sock, now, threshold time.Duration) (finding.Reason, time.Duration) {
	if threshold == 0 {
		return finding.ReasonNone, 0
	}
	return ent.mark.over(s, now, threshold)
}

// goOn updates a finding whose socket is still stuck. What blocks written data may
// change: a peer that does not read goes away.
func (d *Detector) goOn(ent *entry, s *flow.Sock, now time.Duration) {
	reason := ent.reason
	if writes(reason) && blocked(s) != finding.ReasonNone {
		reason = blocked(s)
	}
	if reason != ent.reason || now >= ent.nextUpdate {
		d.update(ent, reason, now)
	}
	d.plan(ent, now)
}

func writes(r finding.Reason) bool { return r == finding.PeerSilent || r == finding.ZeroWindow }
