package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Past is what an earlier run knew of a socket.
type Past struct {
	// Sock has identity, state, and the values that tell whether data moved.
	Sock   flow.Sock
	Since  time.Duration // boot clock
	Exact  bool
	Opener flow.Task
	// Finding is what was open, nil if nothing was.
	Finding *PastFinding
}

// PastFinding is an open finding of an earlier run. Times are of the boot clock.
type PastFinding struct {
	ID                   string
	Reason               finding.Reason
	Threshold            time.Duration
	NextUpdate, Interval time.Duration
	Owner                finding.Owner
}

// Restore goes on with a socket of an earlier run. Whether it is still what it was
// is not asked here: it is due at once. It reports whether the socket is watched
// from now on; a finding that cannot go on is resolved.
func (d *Detector) Restore(p *Past, now time.Duration) bool {
	kind := finding.KindOf(p.Sock.State)
	taken := d.entries[p.Sock.Addr] != nil
	if p.Finding == nil && (taken || !d.watched(p.Sock.State)) {
		return false
	}
	if taken || kind == finding.KindNone || d.cfg.Threshold[kind] == 0 {
		// Its kind was turned off since, or its end was not kept.
		d.resolvePast(p, now)
		return false
	}
	ent := d.add(p.Sock.ID, p.Sock.State, p.Since, p.Exact)
	ent.sock, ent.opener, ent.tracked = p.Sock, p.Opener, false
	ent.mark = noMark
	if p.Finding == nil {
		d.plan(ent, now)
		return true
	}
	ent.flag = p.Finding.flag()
	d.flagged++
	if kind == finding.FinWait2Dangling && !ent.sock.TimeWait && ent.sock.Cookie != 0 {
		ent.flag.cookie = ent.sock.Cookie
		d.halfClosed[ent.sock.Cookie] = ent
	}
	d.schedule(ent, now)
	return true
}

func (p *PastFinding) flag() *flag {
	return &flag{
		id: p.ID, reason: p.Reason, owner: p.Owner, threshold: p.Threshold,
		nextUpdate: p.NextUpdate, interval: p.Interval,
	}
}

// resolvePast resolves a finding of an earlier run whose socket is not watched.
func (d *Detector) resolvePast(p *Past, now time.Duration) {
	ent := &entry{
		sock: p.Sock, kind: finding.KindOf(p.Sock.State), state: p.Sock.State,
		since: p.Since, exact: p.Exact, opener: p.Opener, flag: p.Finding.flag(),
	}
	v := d.verdict(ent, finding.Resolved, now)
	v.Outcome = finding.OutcomeUnknown
}

// Drop ends what was restored and is found to be another life of its socket.
func (d *Detector) Drop(id flow.ID, now time.Duration) {
	if ent := d.entries[id.Addr]; ent != nil && sameLife(ent.sock.ID, id) {
		d.end(ent, finding.OutcomeUnknown, now)
	}
}

// Waiting calls fn for each socket that is not flagged and has been in its state
// since before a moment of the boot clock. What fn is given is only valid during the
// call.
func (d *Detector) Waiting(before time.Duration, fn func(p *Past)) {
	var p Past
	for _, ent := range d.entries {
		if ent.flag != nil || ent.kind == finding.EstablishedStalled || ent.since > before {
			continue
		}
		p = Past{Sock: ent.sock, Since: ent.since, Exact: ent.exact, Opener: ent.opener}
		p.Sock.State = ent.state
		fn(&p)
	}
}

// NextUpdate returns when an open finding is spoken of again, and how long after
// the last time; zero if it is not open any more.
func (v *Verdict) NextUpdate() (at, interval time.Duration) {
	if f := v.entry.flag; f != nil && f.id == v.ID {
		return f.nextUpdate, f.interval
	}
	return 0, 0
}
