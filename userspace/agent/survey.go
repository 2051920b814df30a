package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// surveyEvery is how often the state of the kernel is read even though
	// nothing was lost, as far as anybody knows.
	surveyEvery = 30 * time.Second
	// surveyParts: no tracepoint tells that an ESTABLISHED socket stalls, so a
	// survey comes as often as makes it late by so small a part of its threshold.
	surveyParts = 8
	// surveyLeast is the shortest time between two surveys, however cheap.
	surveyLeast = 250 * time.Millisecond
	// surveyShare is the part of one core that surveys may take: 1/500.
	surveyShare = 500
	// slice is how long a survey may keep the loop from what is due, and
	// slicePause how long it then leaves it alone. A step of a walk is not
	// divided: it takes up to 5 ms.
	slice      = 5 * time.Millisecond
	slicePause = 20 * time.Millisecond
	// quietMost is after how long without an ACK written data is suspicious.
	quietMost = time.Second
)

// survey paces the walks over all connections by what they cost.
type survey struct {
	every time.Duration
	next  time.Duration
	cost  time.Duration
	last  time.Duration
	// walking: a walk is under way, since begun; spent is its cost so far.
	walking      bool
	begun, spent time.Duration
}

func (s *survey) due(now time.Duration) bool { return !s.walking && now >= s.next }

func (s *survey) begin(now time.Duration) { s.walking, s.begun, s.spent = true, now, 0 }

func (s *survey) done(now, cost time.Duration) {
	s.cost, s.last, s.walking = believed(cost, s.cost), now, false
	s.next = now + max(s.every, surveyShare*s.cost)
}

// surveyPace is how often a survey is wanted.
func surveyPace(threshold [finding.KindCount]time.Duration) time.Duration {
	established := threshold[finding.EstablishedStalled]
	if established == 0 {
		return surveyEvery
	}
	return min(max(established/surveyParts, surveyLeast), surveyEvery)
}

// walkStates are what walks look for.
func walkStates(threshold [finding.KindCount]time.Duration, idleAudit time.Duration) flow.WalkStates {
	want := flow.WalkStates{States: States(threshold), Waiting: true}
	if established := threshold[finding.EstablishedStalled]; established > 0 || idleAudit > 0 {
		want.States |= flow.StateEstablished.Bit()
		want.Quiet = min(established/surveyParts, quietMost)
	}
	return want
}

func (a *Agent) beginSurvey(now time.Duration) {
	a.survey.begin(now)
	a.want.Idle = 0
	if a.audit.begin(now) {
		a.want.Idle = a.audit.after
	}
}

// endSurvey is what follows a walk that came to its end.
func (a *Agent) endSurvey() error {
	a.meter.Survey(a.survey.spent)
	if a.want.States.Has(flow.StateEstablished) {
		q, err := a.kernel.WriteQueues()
		if err != nil {
			return err
		}
		a.meter.WriteQueues(q)
	}
	if a.want.Idle == 0 {
		return nil
	}
	a.audit.forget()
	return a.tellIdle()
}

// surveySlice goes on with a survey for a short time.
func (a *Agent) surveySlice() error {
	if !a.survey.walking {
		return nil
	}
	a.found = a.found[:0]
	begin := a.cfg.BootTime()
	done := false
	for !done {
		var err error
		if done, err = a.kernel.WalkSome(a.want, a.met); err != nil {
			return fmt.Errorf("walking connections: %w", err)
		}
		now := a.cfg.BootTime()
		if done {
			a.survey.done(a.survey.begun, a.survey.spent+now-begin)
		} else if now-begin >= slice {
			break
		}
	}
	if err := a.track(a.found); err != nil {
		return err
	}
	a.survey.spent += a.cfg.BootTime() - begin
	if done {
		return a.endSurvey()
	}
	return nil
}
