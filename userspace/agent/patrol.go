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

func (p *patrol) done() {
	p.cost, p.walking = p.spent, false
	p.next = p.begun + max(p.every, patrolShare*p.cost)
}

func (a *Agent) beginPatrol(now time.Duration) {
	a.patrol.walking, a.patrol.begun, a.patrol.spent = true, now, 0
	a.patrol.want.Idle = 0
	if a.audit.begin(now) {
		a.patrol.want.Idle = a.audit.after
	}
}

// patrolSome goes on with a patrol for a short time.
func (a *Agent) patrolSome() error {
	if !a.patrol.walking {
		return nil
	}
	begin, cost := a.cfg.BootTime(), a.meterCost()
	for {
		done, err := a.kernel.WalkSome(a.patrol.want, a.met)
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

// met takes an ESTABLISHED socket that a patrol came across.
func (a *Agent) met(s *flow.Sock) {
	switch {
	case s.State != flow.StateEstablished: // it moved on meanwhile
	case a.patrol.want.Idle > 0 && a.audit.idles(s):
		a.audit.take(s)
	default:
		a.detector.Stalls(s, a.cfg.BootTime())
	}
}
