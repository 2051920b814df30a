package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Due returns the sockets whose time has come, at most some thousand. The
// caller reads their present values into them and calls Judge.
func (d *Detector) Due(now time.Duration) []*flow.Sock {
	d.due, d.probing = d.due[:0], d.probing[:0]
	for _, q := range [...]*queue{&d.queue, &d.patient} {
		for len(*q) > 0 && (*q)[0].deadline <= now && len(d.due) < batch {
			ent := (*q)[0].entry
			p := &d.probes[len(d.due)]
			*p = flow.Sock{ID: ent.sock.ID}
			if ent.kind == finding.EstablishedStalled {
				p.Hash = ent.sock.Hash // of one that was set aside there is no more
			}
			d.due = append(d.due, ent)
			d.probing = append(d.probing, p)
			// Out of the way of the next; Judge plans it again.
			d.schedule(ent, now+idlePoll)
		}
	}
	return d.probing
}

// Judge decides about the sockets of the last Due, now that they are read.
func (d *Detector) Judge(now time.Duration) {
	for i, ent := range d.due {
		if ent.index < 0 {
			continue // an earlier one of the batch ended it
		}
		d.judge(ent, d.probing[i], now)
	}
	d.due, d.probing = d.due[:0], d.probing[:0]
}

func (d *Detector) judge(ent *entry, s *flow.Sock, now time.Duration) {
	if s.Gone || finding.KindOf(s.State) != ent.kind {
		d.elsewhere(ent, s, now)
		return
	}
	if ent.kind == finding.EstablishedStalled {
		d.judgeStall(ent, s, now)
		return
	}
	ent.missed = false
	d.learn(ent, s, now)
	threshold := d.threshold(ent)
	if threshold == 0 {
		d.plan(ent, now)
		return
	}
	if wait := d.notYet(ent, s, now, threshold); wait > 0 {
		ent.due = now + wait
		d.schedule(ent, ent.due)
		return
	}
	reason := ent.steady(Reason(ent.kind, s, now-ent.since, threshold), s, threshold)
	if reason == finding.NoReply && ent.flag != nil && ent.listener != nil {
		reason = finding.ListenerOverflow
	}
	switch {
	case ent.flag == nil:
		d.open(ent, reason, now, threshold)
	case reason != ent.reason || now >= ent.nextUpdate:
		d.update(ent, reason, now)
	}
	d.plan(ent, now)
}

func (d *Detector) update(ent *entry, reason finding.Reason, now time.Duration) {
	v := d.verdict(ent, finding.Update, now)
	v.was, ent.reason = ent.reason, reason
	v.Reason = reason
	if now >= ent.nextUpdate {
		v.paced, v.last = true, ent.nextUpdate-ent.interval
		d.Told(v, now)
	}
}

// Told says when an open or an update was written, which may be well after it was
// decided on a busy host. The next one waits twice as long as this one did, and not
// as this one was meant to; an update for a new reason changes nothing.
func (d *Detector) Told(v *Verdict, now time.Duration) {
	f := v.entry.flag
	switch {
	case f == nil || f.id != v.ID:
		return // resolved meanwhile
	case v.Status == finding.Open:
		f.interval = f.threshold
	case v.paced:
		f.interval = 2 * (now - v.last)
	default:
		return
	}
	f.nextUpdate = now + f.interval
}

// learn keeps what a reading tells beyond what events said.
func (d *Detector) learn(ent *entry, s *flow.Sock, now time.Duration) {
	if ent.sock.Role != flow.RoleUnknown {
		s.Role = ent.sock.Role
	}
	if s.Cookie == 0 {
		s.Cookie = ent.sock.Cookie
	}
	ent.undropped = keepDrop(&s.SYN, &ent.sock.SYN, ent.undropped)
	tracked := ent.tracked && !s.Untracked
	ent.sock, ent.tracked, ent.state = *s, tracked, s.State
	if ent.flag != nil && s.TimeWait {
		ent.ends = now + s.Expires
	}
}

// notYet returns how long to wait before the socket can be flagged, 0 if it
// holds its condition now. What is flagged already stays so until it moves on.
func (d *Detector) notYet(ent *entry, s *flow.Sock, now, threshold time.Duration) time.Duration {
	if ent.flag != nil {
		return 0
	}
	if age := now - ent.since; age < threshold {
		return threshold - age
	}
	if ent.kind == finding.ClosingStalled && s.SendWindow > 0 && s.Unsent()+s.Unacked() > 0 {
		// Closed, but the peer still takes what is left to send.
		if quiet := s.LastAck + ackMargin; s.LastAck >= 0 && quiet < threshold {
			return threshold - quiet
		}
	}
	return 0
}

func (d *Detector) open(ent *entry, reason finding.Reason, now, threshold time.Duration) {
	ent.flag = &flag{
		id:         d.cfg.NewID(ent.sock.ID, ent.kind, ent.since),
		reason:     reason,
		opened:     now,
		threshold:  threshold,
		interval:   threshold,
		nextUpdate: now + threshold,
	}
	switch {
	case ent.sock.TimeWait:
		ent.ends = now + ent.sock.Expires
	case ent.kind == finding.FinWait2Dangling && ent.sock.Cookie != 0:
		ent.flag.cookie = ent.sock.Cookie
		d.halfClosed[ent.sock.Cookie] = ent
	}
	d.flagged++
	v := d.verdict(ent, finding.Open, now)
	v.Due = max(ent.since+threshold, ent.due)
}

// elsewhere handles a socket that is not where it was. Its event is waited for
// once, because only that knows how it ended.
func (d *Detector) elsewhere(ent *entry, s *flow.Sock, now time.Duration) {
	if ent.tracked && !ent.missed && !ent.sock.TimeWait {
		ent.missed = true
		d.schedule(ent, now+2*d.cfg.Tick)
		return
	}
	if ent.tracked && !ent.sock.TimeWait || mayLeave(ent, s) {
		d.unseen++
	}
	if s.Gone {
		d.end(ent, goneOutcome(ent, now), now)
		return
	}
	// Not its ID: a closed socket has given its port and peer back.
	outcome := outcomeOf(ent.state, s.State, s.Err)
	d.move(ent, s.State, now, outcome, now)
	ent.exact = false // it went there before now
}

// mayLeave reports whether a minisocket may stand where the socket was: an orphan leaves
// one in FIN_WAIT2 (net/ipv4/tcp_input.c, tcp_rcv_state_process). Of what the old generation
// had no room for, no event tells that; until its memory serves another one, it reads as closed.
func mayLeave(ent *entry, s *flow.Sock) bool {
	return !ent.sock.TimeWait && (s.Gone || s.State == flow.StateClose) &&
		(ent.state == flow.StateFinWait1 || ent.state == flow.StateFinWait2)
}

// goneOutcome tells how a socket ended that no event told of. Minisockets have
// no events: one that is gone at its time timed out, one that is gone before was
// killed by a reset (net/ipv4/tcp_minisocks.c, tcp_timewait_state_process); a
// FIN would have turned it into TIME_WAIT.
func goneOutcome(ent *entry, now time.Duration) finding.Outcome {
	if !ent.sock.TimeWait || ent.flag == nil || ent.ends == 0 {
		return finding.OutcomeUnknown
	}
	if now+endMargin >= ent.ends {
		return finding.OutcomeTimedOut
	}
	return finding.OutcomeReset
}

// Found takes a socket into account that a walk came across. It reports whether
// it is new: then the kernel side does not send its events yet. opener and since
// are what the old generation recalls of it, zero if nothing.
func (d *Detector) Found(s *flow.Sock, opener flow.Task, since, now time.Duration) bool {
	if !d.watched(s.State) {
		return false
	}
	ent := d.entries[s.Addr]
	if ent != nil && !sameLife(ent.sock.ID, s.ID) {
		d.end(ent, goneOutcome(ent, now), now)
		ent = nil
	}
	if ent != nil {
		if ent.kind != finding.KindOf(s.State) {
			d.schedule(ent, now)
		}
		return false
	}
	if ent = d.halfClosed[s.Cookie]; ent != nil && s.TimeWait && !ent.sock.TimeWait {
		// It was closed, and the event of that was lost.
		d.succeed(ent, s.Addr, now)
		return false
	}
	exact := since > 0
	if !exact {
		since = now - min(AgeBound(s), now)
	}
	ent = d.add(s.ID, s.State, since, exact)
	ent.sock, ent.opener, ent.tracked, ent.seen = *s, opener, false, now
	d.plan(ent, now)
	return true
}

// Tracked says that the kernel side sends the socket's events from now on.
func (d *Detector) Tracked(id flow.ID) {
	if ent := d.entries[id.Addr]; ent != nil && sameLife(ent.sock.ID, id) {
		ent.tracked = true
	}
}

// Suspect makes every socket due: events were lost, so any may have moved on. Not
// those that are suspected in ESTABLISHED: no events are sent of them.
func (d *Detector) Suspect(now time.Duration) {
	for i := range d.queue {
		if ent := d.queue[i].entry; ent.flag != nil || !ent.tracked {
			d.queue[i].deadline = now
		}
	}
	d.queue.rebuild()
}

// Keep remembers what the writer of an open or an update learned about the
// socket beyond the reading.
func (d *Detector) Keep(v *Verdict) {
	v.entry.sock.Role, v.entry.sock.Cookie = v.Sock.Role, v.Sock.Cookie
}

// Withdraw takes back an open or an update that was not written, because a
// reading after Judge found the socket elsewhere. It is looked at again when its
// event has had time to come.
func (d *Detector) Withdraw(v *Verdict, now time.Duration) {
	ent := v.entry
	if ent.flag == nil || ent.id != v.ID {
		return // resolved meanwhile
	}
	if v.Status == finding.Open {
		d.unflag(ent)
	} else {
		ent.reason = v.was
	}
	d.schedule(ent, now+d.cfg.Tick)
}
