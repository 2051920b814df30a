package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// patrolParts: no tracepoint tells that an ESTABLISHED socket stalls, so a
	// patrol comes as often as makes it late by so small a part of its threshold.
	patrolParts = 8
	// patrolLeast and patrolMost bound the time between two patrols.
	patrolLeast = 250 * time.Millisecond
	patrolMost  = 30 * time.Second
	// patrolShare is the part of one core that patrols may take: 1/1000.
	patrolShare = 1000
	// slice is how long a patrol may keep the loop from what is due, and
	// slicePause how long it then leaves it alone. A step of a walk is not
	// divided: it takes up to 5 ms.
	slice      = 5 * time.Millisecond
	slicePause = 20 * time.Millisecond
	// quietMost is after how long without an ACK written data is suspicious.
	quietMost = time.Second
)

// patrol paces the walks that look for ESTABLISHED sockets whose data does not
// move.
type patrol struct {
	// want is what it looks for; without states it is turned off.
	want  flow.WalkStates
	every time.Duration
	next  time.Duration
	cost  time.Duration
	// walking: a walk is under way, since begun; spent is its cost so far.
	walking      bool
	begun, spent time.Duration
	// surveys: the walk is a survey too.
	surveys bool
	// metAt is when the sockets were read that the last step of the walk handed out.
	metAt time.Duration
}

func newPatrol(established, idleAudit time.Duration) patrol {
	p := patrol{every: patrolMost}
	if established > 0 {
		p.every = min(max(established/patrolParts, patrolLeast), patrolMost)
	}
	if established > 0 || idleAudit > 0 {
		p.want = flow.WalkStates{
			States: flow.StateEstablished.Bit(), Waiting: true, Quiet: min(established/patrolParts, quietMost),
		}
	}
	return p
}

func (p *patrol) due(now time.Duration) bool {
	return p.want.States != 0 && !p.walking && now >= p.next
}

// pause is how long from the beginning of one patrol to that of the next.
func (p *patrol) pause() time.Duration { return max(p.every, patrolShare*p.cost) }

func (p *patrol) done() {
	p.cost, p.walking = p.spent, false
	p.next = p.begun + p.pause()
}

// beginPatrol begins a walk for what waits in ESTABLISHED. One that begins when a
// survey is due before the next would come is that survey too: nearly all that a
// survey costs is the way. Not the other way round: what waits may be dear to read.
func (a *Agent) beginPatrol(now time.Duration) {
	p := &a.patrol
	p.surveys = !a.cfg.Polled && a.survey.due(now+p.pause()+a.cfg.Tick)
	if p.surveys {
		a.beginSurvey()
	}
	p.walking, p.begun, p.spent = true, now, 0
	p.want.Idle = 0
	if a.audit.begin(now) {
		p.want.Idle = a.audit.after
	}
}

// carries reports whether a survey that is due can wait for the end of a patrol that makes
// it: one that is under way, or one that comes before the survey is late by its own pace.
func (a *Agent) carries(now time.Duration) bool {
	p := &a.patrol
	switch {
	case a.survey.hurries(now), a.cfg.Polled, p.want.States == 0:
		return false
	case p.walking:
		return p.surveys
	}
	return p.next <= a.survey.next+a.survey.usual
}

// patrolSome goes on with a patrol for a short time.
func (a *Agent) patrolSome() error {
	if !a.patrol.walking {
		return nil
	}
	begin, cost := a.cfg.BootTime(), a.meterCost()
	want := a.patrol.want
	if a.patrol.surveys {
		want.States |= a.states
	}
	for {
		a.patrol.metAt = 0
		done, err := a.kernel.WalkSome(want, a.met)
		if err != nil {
			return fmt.Errorf("walking connections: %w", err)
		}
		if done || a.cfg.BootTime()-begin >= slice {
			a.patrol.spent += cost()
			if done {
				return a.endPatrol()
			}
			return nil
		}
	}
}

// endPatrol is what follows a walk that came to its end.
func (a *Agent) endPatrol() error {
	a.patrol.done()
	a.meter.Patrol(a.patrol.spent)
	if err := a.endSurvey(); err != nil {
		return err
	}
	if err := a.queued(); err != nil {
		return err
	}
	if err := a.countSockets(); err != nil {
		return err
	}
	if a.patrol.want.Idle == 0 {
		return nil
	}
	a.audit.forget()
	return a.tellIdle()
}

// endSurvey is what follows if the walk was a survey too, at the patrol's cost.
func (a *Agent) endSurvey() error {
	if !a.patrol.surveys {
		return nil
	}
	now := a.cfg.BootTime()
	a.survey.carried(now)
	a.meter.Survey(0)
	return a.takeSurvey(now)
}

// met takes a socket that a patrol came across.
func (a *Agent) met(s *flow.Sock) {
	if a.patrol.metAt == 0 {
		a.patrol.metAt = a.cfg.BootTime()
	}
	switch {
	case a.patrol.surveys && a.states.Has(s.State):
		a.surveyed(s)
	case s.State != flow.StateEstablished: // it moved on meanwhile
	case a.patrol.want.Idle > 0 && a.audit.idles(s):
		a.audit.take(s)
	default:
		a.detector.Stalls(s, a.patrol.metAt)
	}
}

// glanceMost is how many sockets are glanced at between two looks at the clock, at most as
// many as one run of the program takes.
const glanceMost = 512

// glance looks at the sockets whose data moves, as far as it is their turn.
func (a *Agent) glance(now time.Duration) error {
	for movers := a.detector.Glances(now); len(movers) > 0; {
		n := min(len(movers), glanceMost)
		// What is seen to have moved did so before it is looked at, which may be long after
		// the loop came round: the agent was stopped, or walked.
		var at time.Duration
		err := a.kernel.Glance(movers[:n], func(is flow.MoverIs, s *flow.Sock) {
			if at == 0 {
				at = a.cfg.BootTime()
			}
			a.detector.Glanced(is, s, at)
		})
		if err != nil {
			return err
		}
		movers = movers[n:]
	}
	return nil
}
