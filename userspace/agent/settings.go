package agent

import (
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// Settings are what can change while the agent runs. Which kinds are turned on cannot:
// the kernel side was loaded for them.
type Settings struct {
	// Rules say what is too long for which socket; their base is for all others.
	Rules rules.Set
	// Tick is how often due sockets are looked at.
	Tick time.Duration
	// IdleAudit is after how long without keepalive an idle connection is
	// listed; 0: never.
	IdleAudit time.Duration
}

// apply takes other settings. Findings that are open stay so.
func (a *Agent) apply(s *Settings) {
	now := a.cfg.BootTime()
	a.cfg.Settings = *s
	least := s.Rules.Least()
	a.detector.Configure(least, s.Tick, now)
	a.survey.configure(&least, a.cfg.Polled, now)
	a.patrol.configure(newPatrol(least[finding.EstablishedStalled], s.IdleAudit), now)
	a.audit.after = s.IdleAudit
	if s.IdleAudit == 0 {
		clear(a.audit.told)
	}
	a.nextAge, a.nextTick = min(a.nextAge, now+s.Tick), min(a.nextTick, now+s.Tick)
	a.ticker.Reset(s.Tick)
}

// configure takes over pace and aim; a walk that is under way goes on.
func (p *patrol) configure(next patrol, now time.Duration) {
	next.want.Idle = p.want.Idle
	p.want, p.every = next.want, next.every
	p.next = min(p.next, now+p.every)
}

// foregone takes back, before anybody is looked for, what opened by the shortest
// threshold there is and is not due by its own, as far as that depends on the socket
// alone.
func (a *Agent) foregone(verdicts []detect.Verdict) []detect.Verdict {
	if len(a.cfg.Rules.Rules) == 0 {
		return verdicts
	}
	now, left := a.cfg.BootTime(), verdicts[:0]
	for i := range verdicts {
		v := &verdicts[i]
		if v.Status == finding.Open {
			if threshold, sure := a.cfg.Rules.Foregone(v.Kind, &v.Sock); sure && !a.detector.Decide(v, threshold, now) {
				continue
			}
		}
		left = append(left, *v)
	}
	return left
}

// decide takes back what is not due by its own threshold, now that the owners are known.
func (a *Agent) decide() {
	if len(a.cfg.Rules.Rules) == 0 {
		return
	}
	now, cgroups := a.cfg.BootTime(), a.cfg.Rules.AsksCgroup()
	for i, v := range a.pending {
		if v.Status != finding.Open {
			continue
		}
		f := rules.Facts{Kind: v.Kind, Sock: &v.Sock, Owner: &a.queries[i].Result}
		if a.cfg.Origin != nil {
			f.Workload = a.cfg.Origin.Of(&f.Owner.Process, &v.Sock.ID, v.Since, now)
		}
		if cgroups {
			f.Cgroups = a.owners.Cgroups(f.Owner.Process.Task)
		}
		if !a.detector.Decide(v, a.cfg.Rules.Threshold(&f), now) {
			v.Sock.Gone = true
		}
	}
}
