package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// rereadShare is the part of one core that reading again after losses may
	// take: 1/20. A flood of losses is answered as often as that allows.
	rereadShare = 20
	// lossEvery is how often a loss record may be written.
	lossEvery = time.Second
)

// losses compares the kernel's counters and collects what has not been said.
type losses struct {
	seen    flow.Losses
	unsaid  [lossStages]uint64
	reread  bool
	nextSay time.Duration
}

// The stages at which something can be lost.
const (
	lossRing = iota
	lossOld
	lossRecursion
	lossWalk
	lossDrop
	lossStages
)

// lossNames are the values of tcplimbo.loss.where and of the metrics' label.
var lossNames = [lossStages]string{
	lossRing:      "ring_buffer",
	lossOld:       "old_generation",
	lossRecursion: "recursion",
	lossWalk:      "walk",
	lossDrop:      "syn_drops",
}

var lossWords = [lossStages]string{
	lossRing:      "events found the ring buffer full",
	lossOld:       "sockets found the old generation full; none is missed, they are watched by reading them",
	lossRecursion: "transitions interrupted another one and were not shown by the kernel",
	lossWalk:      "hash chains were too long to be followed to their end",
	lossDrop:      "SYNs that this host dropped found no room to be noted, so that their connects may be called no_reply",
}

// Stages lists the stages of losses, for metrics.
func Stages() []string { return lossNames[:] }

// note takes the kernel's counters and reports whether the state must be read
// again before anything else is believed.
func (l *losses) note(now flow.Losses) bool {
	l.reread = l.count(lossRing, now.RingFull, &l.seen.RingFull) || l.reread
	l.reread = l.count(lossRecursion, now.Recursion, &l.seen.Recursion) || l.reread
	l.count(lossOld, now.PromotedFull, &l.seen.PromotedFull)
	l.count(lossWalk, now.WalkCut, &l.seen.WalkCut)
	l.count(lossDrop, now.SYNDrops, &l.seen.SYNDrops)
	return l.reread
}

// count takes what a counter has grown by. A counter that could not be read is 0
// for once.
func (l *losses) count(stage int, now uint64, seen *uint64) bool {
	if now <= *seen {
		return false
	}
	l.unsaid[stage] += now - *seen
	*seen = now
	return true
}

// sayLosses writes one record a stage, once what was lost was read again, and
// not too often. At the end everything is said as it is.
func (a *Agent) sayLosses(now time.Duration, end bool) {
	if !end && (a.losses.reread || now < a.losses.nextSay) {
		return
	}
	for stage, n := range a.losses.unsaid {
		if n == 0 {
			continue
		}
		a.losses.nextSay = now + lossEvery
		a.losses.unsaid[stage] = 0
		a.meter.Lost(lossNames[stage], n)
		a.out.Loss(a.loss(stage, n))
	}
}

func (a *Agent) loss(stage int, n uint64) *finding.Loss {
	l := &finding.Loss{
		Time: a.cfg.Now(), Where: lossNames[stage], Count: n, Message: fmt.Sprintf("%d %s", n, lossWords[stage]),
	}
	if (stage == lossRing || stage == lossRecursion) && !a.losses.reread {
		l.Reread = true
		l.Message += "; the state of all sockets was read again"
	}
	return l
}
