package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// threshold is what is too long for a socket, 0 if it is left alone: what its
// finding opened with; what was decided, now that it is known whose it is; before
// that the shortest there is, for no finding may be late.
func (d *Detector) threshold(ent *entry) time.Duration {
	switch {
	case ent.flag != nil:
		return ent.flag.threshold
	case ent.decided:
		return ent.own
	}
	return d.cfg.Threshold[ent.kind]
}

// Decide says what is too long for the socket of an open, now that it is known whose
// the socket is; 0: it is left alone. It reports whether the open stands. If not, it
// is taken back: the socket is judged again with this threshold when it has passed,
// and not asked about before, unless it changes its state or Configure is called.
func (d *Detector) Decide(v *Verdict, threshold, now time.Duration) bool {
	ent := v.entry
	if v.Status != finding.Open || ent.flag == nil || ent.id != v.ID {
		return true
	}
	judged := ent.flag.threshold
	ent.own, ent.decided = threshold, true
	if threshold > 0 && threshold <= judged {
		// Judged by more than was needed: its owner was another one then.
		ent.flag.threshold, v.Threshold = threshold, threshold
		return true
	}
	d.unflag(ent)
	if threshold == 0 {
		d.schedule(ent, now+idlePoll)
		return false
	}
	d.schedule(ent, max(now, v.Since+threshold))
	return false
}

// Configure takes other thresholds. What is open stays so until the socket moves on;
// all others are judged by the new ones, whatever was decided before. Which kinds are
// turned on must not change.
func (d *Detector) Configure(threshold [finding.KindCount]time.Duration, tick, now time.Duration) {
	d.cfg.Threshold, d.cfg.Tick = threshold, tick
	d.asides.wake(d.tickOf(now))
	for _, ent := range d.entries {
		if ent.flag != nil {
			continue
		}
		ent.decided, ent.due = false, 0
		// What is looked at too early is put off again.
		at := now
		if ent.kind != finding.EstablishedStalled {
			at = max(now, ent.since+threshold[ent.kind])
		}
		place := ent.place()
		place.deadline = min(place.deadline, at)
	}
	d.queue.rebuild()
	d.patient.rebuild()
}
