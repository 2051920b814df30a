package agent

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// surveyEvery is how often the state of the kernel is read even though
	// nothing was lost, as far as anybody knows.
	surveyEvery = 30 * time.Second
	// surveyShare is the part of one core that surveys may take: 1/400.
	surveyShare = 400
	// The same for surveys that are made because the kernel did not show a
	// transition: a part of the threshold by which the socket must be found.
	hiddenLeast = time.Second
	hiddenMost  = 10 * time.Second
	hiddenPart  = 4
	hiddenShare = 100
	// Without events a finding may be late by so small a part of the smallest
	// threshold.
	pollParts = 4
	pollLeast = 250 * time.Millisecond
	pollMost  = 10 * time.Second
	// settleTicks is how many ticks a socket that a survey came across is given
	// to leave its state or to be promoted.
	settleTicks = 2
	// settleMost bounds their number; what is more is taken at once.
	settleMost = 8192
	// doubtful is how long a walk may take that took no time before. What takes
	// longer, and over four times as long as the last, was stopped in its
	// middle (SIGSTOP, a suspended machine): that is not the walk's cost.
	doubtful = 250 * time.Millisecond
)

// meterCost begins to measure what something costs; the result ends that. The
// process' other threads are counted too, but never more than the time that passed.
func (a *Agent) meterCost() (cost func() time.Duration) {
	began, used := a.cfg.BootTime(), a.cfg.CPUTime()
	return func() time.Duration {
		return min(a.cfg.BootTime()-began, a.cfg.CPUTime()-used)
	}
}

// believed returns what a walk cost, given that it took so long and that the
// last one cost so much.
func believed(took, last time.Duration) time.Duration { return min(took, max(doubtful, 4*last)) }

// survey paces the walks over all connections by what they cost.
type survey struct {
	next time.Duration
	cost time.Duration
	last time.Duration
	// walked: the first one is done, so what enters a state is in the rings.
	walked bool
	// hidden is what flow.Stats.Hidden was at the last look; since that rose, a
	// transition waits to be found.
	hidden  uint64
	waiting bool
	every   time.Duration
	// usual is how long until the next walk if nothing happens, share how many
	// times what the last one cost.
	usual, share time.Duration
	// young are sockets that were passing through when the last walk came by,
	// to be looked at again at youngDue; states are what they were in.
	young    []*flow.Sock
	states   []flow.State
	youngDue time.Duration
}

// hiddenPace returns how soon a hidden transition must be followed up: the only
// watched state it can lead to is CLOSE_WAIT (bpf/nested.h).
func hiddenPace(closeWait time.Duration) time.Duration {
	if closeWait == 0 {
		return hiddenMost
	}
	return min(max(closeWait/hiddenPart, hiddenLeast), hiddenMost)
}

// pollPace returns how often to look where no event tells. ESTABLISHED sockets are
// looked at by the patrol, at its own pace.
func pollPace(threshold *[finding.KindCount]time.Duration) time.Duration {
	pace := pollMost
	for kind, t := range threshold {
		if t > 0 && finding.Kind(kind) != finding.EstablishedStalled {
			pace = min(pace, t/pollParts)
		}
	}
	return max(pace, pollLeast)
}

func newSurvey(threshold *[finding.KindCount]time.Duration, polled bool) survey {
	s := survey{every: hiddenPace(threshold[finding.CloseWaitSilent]), usual: surveyEvery, share: surveyShare}
	if polled {
		s.usual, s.share = pollPace(threshold), hiddenShare
	}
	return s
}

// configure takes over other thresholds.
func (s *survey) configure(threshold *[finding.KindCount]time.Duration, polled bool, now time.Duration) {
	next := newSurvey(threshold, polled)
	s.every, s.usual, s.share = next.every, next.usual, next.share
	s.next = min(s.next, now+max(s.usual, s.share*s.cost))
}

func (s *survey) note(hidden uint64) {
	if hidden > s.hidden {
		s.hidden, s.waiting = hidden, true
	}
}

// due leaves the sockets that the last walk put off to be looked at first: a walk
// in between would put them off once more.
func (s *survey) due(now time.Duration) bool {
	return len(s.young) == 0 && (now >= s.next || s.hurries(now))
}

// hurries: a transition was hidden, and it is time to follow that up.
func (s *survey) hurries(now time.Duration) bool {
	return len(s.young) == 0 && s.waiting && now >= s.last+max(s.every, hiddenShare*s.cost)
}

func (s *survey) done(now, cost time.Duration) {
	s.cost, s.last, s.walked, s.waiting = believed(cost, s.cost), now, true, false
	s.carried(now)
}

// carried plans the next survey. Where a patrol made this one, a transition that was
// hidden meanwhile may have been where that had passed by.
func (s *survey) carried(now time.Duration) {
	s.next = now + max(s.usual, s.share*s.cost)
}

// resync makes the detector's picture the kernel's: every socket in a watched
// state is known afterwards, and every known one is looked at again if events
// were lost. Walks are spaced by their cost; what waits is not forgotten.
func (a *Agent) resync(now time.Duration) error {
	if a.losses.reread && now < a.survey.last+rereadShare*a.survey.cost {
		return nil
	}
	cost := a.meterCost()
	a.patrol.walking = false // the kernel side knows one walk at a time
	if err := a.walk(now); err != nil {
		return err
	}
	if a.losses.reread || a.survey.waiting {
		a.detector.Suspect(now)
	}
	a.survey.done(now, cost())
	a.meter.Survey(a.survey.cost)
	a.losses.reread = false
	return a.countSockets()
}

func (a *Agent) walk(now time.Duration) error {
	a.beginSurvey()
	err := a.kernel.Walk(flow.WalkStates{States: a.states}, a.surveyed)
	if err != nil {
		return fmt.Errorf("walking connections: %w", err)
	}
	return a.takeSurvey(now)
}

func (a *Agent) beginSurvey() {
	a.found = a.found[:0]
	a.survey.young, a.survey.states = a.survey.young[:0], a.survey.states[:0]
	a.survey.youngDue = math.MaxInt64
}

// surveyed takes a socket in a watched state that a walk came across.
func (a *Agent) surveyed(s *flow.Sock) {
	// Most are on their way, and if not, the young generation has them; unless
	// what it told was lost.
	if a.survey.walked && !a.losses.reread && detect.AgeBound(s) < a.settleTime() && len(a.survey.young) < settleMost {
		a.survey.young = append(a.survey.young, &flow.Sock{ID: s.ID})
		a.survey.states = append(a.survey.states, s.State)
		return
	}
	a.take(s)
}

func (a *Agent) settleTime() time.Duration { return settleTicks * a.cfg.Tick }

// takeSurvey is what follows a survey's walk.
func (a *Agent) takeSurvey(now time.Duration) error {
	a.survey.youngDue = now + a.settleTime()
	if !a.survey.walked {
		a.makeCookies()
	}
	return a.track(a.found)
}

// cookiesMost bounds what the start takes longer: for each, a namespace is entered.
const cookiesMost = 256

// makeCookies has the kernel make a cookie for sockets that are older than the agent and
// that nobody asked for one. Later the agent may not enter their namespaces any more.
// What cannot be had is left out of the records.
func (a *Agent) makeCookies() {
	made := 0
	for _, s := range a.found {
		if s.Cookie == 0 && made < cookiesMost {
			_, _ = a.kernel.Cookie(s.ID)
			made++
		}
	}
}

// settle looks again at the sockets that were passing through, and takes those
// that did not.
func (a *Agent) settle(now time.Duration) error {
	if len(a.survey.young) == 0 || now < a.survey.youngDue {
		return nil
	}
	if err := a.kernel.Read(a.survey.young, false); err != nil {
		return fmt.Errorf("reading sockets: %w", err)
	}
	a.found = a.found[:0]
	for i, s := range a.survey.young {
		if !s.Gone && s.State == a.survey.states[i] {
			a.take(s)
		}
	}
	a.survey.young = a.survey.young[:0]
	return a.track(a.found)
}

// take tells the detector of a socket that is there.
func (a *Agent) take(s *flow.Sock) {
	opener, since, _ := a.kernel.Recall(s.Key)
	if a.detector.Found(s, opener, since, a.cfg.BootTime()) {
		a.found = append(a.found, &flow.Sock{ID: s.ID})
	}
}

// track has the kernel side send the events of sockets.
func (a *Agent) track(socks []*flow.Sock) error {
	if len(socks) == 0 {
		return nil
	}
	if err := a.kernel.Read(socks, true); err != nil {
		return fmt.Errorf("tracking sockets: %w", err)
	}
	for _, s := range socks {
		if !s.Gone && !s.Untracked {
			a.detector.Tracked(s.ID)
		}
	}
	return nil
}
