package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// span is a stretch of time.
type span struct{ from, to boot }

// session is one run of the agent.
type session struct {
	// ready is when it had attached and walked; end is when it was told to stop,
	// was killed, or lost its reader.
	ready, end boot
	// killed sessions owe nothing after their end; the others wrote what was due.
	killed bool
	// dark are the times in which it could not work or we did not read.
	dark    []span
	records []*record
}

// rules are what a round allows.
type rules struct {
	thresholds map[string]time.Duration // by kind
	// slack is how late a word may come: the machine is shared, and a loss costs a walk.
	slack time.Duration
	// lossy rounds make the kernel side drop what it would have told; how a finding
	// ended may then be unknown.
	lossy bool
}

// fault is a way to break the promise.
type fault string

const (
	missed  fault = "missed"
	doubled fault = "doubled"
	untrue  fault = "false"
	wrong   fault = "wrong"
)

// complaint is one broken promise.
type complaint struct {
	fault fault
	what  string
}

// verdict is what the oracle says of a round.
type verdict struct {
	// Lives is how many sockets were stuck, Due how many of them had to be told, in
	// all sessions together, and Told how many were.
	Lives, Due, Told int
	Lost             int64
	complaints       []complaint
}

func (v *verdict) add(f fault, format string, args ...any) {
	v.complaints = append(v.complaints, complaint{f, fmt.Sprintf(format, args...)})
}

func (v *verdict) count(f fault) (n int) {
	for _, c := range v.complaints {
		if c.fault == f {
			n++
		}
	}
	return n
}

// early is how much before its threshold a socket may be called stuck: the kernel
// reckons in jiffies, and what we call its birth is from outside.
const early = 50 * time.Millisecond

// judge compares what the agent said with what was.
func judge(j *journal, sessions []*session, rule rules) *verdict {
	v := &verdict{Lives: len(j.lives)}
	byTuple := make(map[workload.Tuple][]*life, len(j.lives))
	for _, l := range j.lives {
		byTuple[l.Truth.Tuple()] = append(byTuple[l.Truth.Tuple()], l)
	}
	for _, s := range sessions {
		told := v.judgeSession(j, s, rule, byTuple)
		for _, l := range j.lives {
			if !due(l, s, rule) {
				continue
			}
			v.Due++
			if told[l] == nil {
				v.add(missed, "%s", describe(l, s))
			}
		}
		v.Told += len(told)
	}
	return v
}

// due tells whether the session owed a word about the socket: it was stuck for its
// threshold and the slack longer, while the agent was there and awake.
func due(l *life, s *session, rule rules) bool {
	// Of a socket that is older than the agent nothing need prove the age.
	at := max(l.SinceLatest, s.ready) + rule.thresholds[l.Truth.Kind] + rule.slack
	for _, d := range s.dark {
		if at > d.from && at-rule.slack-rule.thresholds[l.Truth.Kind] < d.to {
			at = max(at, d.to+rule.slack)
		}
	}
	return at < s.end && (l.Until == 0 || at < l.Until)
}

// judgeSession returns the first `open` of each life.
func (v *verdict) judgeSession(j *journal, s *session, rule rules, byTuple map[workload.Tuple][]*life) map[*life]*record {
	told, ids, resolved, shown := map[*life]*record{}, map[string]*life{}, map[string]bool{}, map[string]bool{}
	for _, r := range s.records {
		if r.Event == lossEvent {
			v.Lost += r.Lost
		}
		if r.Event != findingEvent || !ours(j, r) {
			continue
		}
		l := lifeOf(r, byTuple)
		if l == nil {
			if !excused(j, r, shown) {
				v.add(untrue, "no such socket was stuck: %s", r.line)
			}
			continue
		}
		switch {
		case r.Status == "open" && told[l] != nil:
			v.add(doubled, "opened twice: %s", r.line)
		case r.Status == "open":
			told[l], ids[r.ID] = r, l
			v.checkOpen(l, r, rule)
		case told[l] == nil || told[l].ID != r.ID:
			v.add(untrue, "%s without an open: %s", r.Status, r.line)
		case resolved[r.ID]:
			v.add(doubled, "%s after resolved: %s", r.Status, r.line)
		case r.Status == "resolved":
			resolved[r.ID] = true
			v.checkResolved(l, r, rule)
		}
	}
	for id, l := range ids {
		if !resolved[id] && owesEnd(l, s, rule) {
			v.add(missed, "the end of %s", describe(l, s))
		}
	}
	return told
}

// owesEnd tells whether the session had the time to see the end.
func owesEnd(l *life, s *session, rule rules) bool {
	if l.UntilLatest == 0 || s.killed {
		return false
	}
	at := l.UntilLatest + rule.slack
	for _, d := range s.dark {
		if at > d.from && l.UntilLatest < d.to {
			at = max(at, d.to+rule.slack)
		}
	}
	return at < s.end
}

// checkOpen: the condition held when the line was written, and who and why is so.
func (v *verdict) checkOpen(l *life, r *record, rule rules) {
	limit := rule.thresholds[l.Truth.Kind]
	if stuck := r.at - l.Since; stuck < limit-early {
		v.add(untrue, "stuck for %s, the threshold is %s: %s", stuck, limit, r.line)
	}
	if r.Duration < r.Limit-early.Seconds() {
		v.add(untrue, "its own duration is below its own threshold: %s", r.line)
	}
	written, exact := writtenAt(r)
	if !exact {
		written -= rule.slack
	}
	if l.UntilLatest != 0 && written > l.UntilLatest+early {
		v.add(untrue, "it had ended %s before: %s", written-l.UntilLatest, r.line)
	}
	if r.Kind != l.Truth.Kind {
		v.add(wrong, "%s, not %s: %s", r.Kind, l.Truth.Kind, r.line)
	}
	if r.Reason != l.Truth.Reason && !rule.lossy {
		v.add(wrong, "%s, not %s: %s", r.Reason, l.Truth.Reason, r.line)
	}
	// Once it is dying its holder may be gone already.
	if dying := l.Until != 0 && r.at >= l.Until; dying || l.Truth.PID <= 0 {
		return
	}
	if r.PID != 0 && r.PID != l.Truth.PID && !shared(l, r) {
		v.add(wrong, "pid %d, not %d: %s", r.PID, l.Truth.PID, r.line)
	}
	if l.Truth.FD >= 0 && (r.FD == nil || *r.FD != l.Truth.FD) {
		v.add(wrong, "descriptor is not %d: %s", l.Truth.FD, r.line)
	}
}

// shared: another process holds it too, as one does that was forked and has not executed its
// program yet, and of several the lowest pid is named.
func shared(l *life, r *record) bool {
	return r.PID < l.Truth.PID && slices.Contains(r.Holders, fmt.Sprintf("%d/%d", l.Truth.PID, l.Truth.FD))
}

// writtenAt is when the agent wrote the line, by the two clocks as they stand when
// it is read. Where the wall clock was stepped in between, all that is known is that
// it was before it was read.
func writtenAt(r *record) (at boot, exact bool) {
	t, err := time.Parse(time.RFC3339Nano, r.Time)
	if err != nil {
		return r.at, false
	}
	const stepped = 30 * time.Minute
	late := r.wall.Sub(t)
	if late < 0 || late > stepped {
		return r.at, false
	}
	return r.at - late, true
}

func (v *verdict) checkResolved(l *life, r *record, rule rules) {
	if l.Until == 0 || r.at < l.Until {
		v.add(untrue, "resolved while it was stuck: %s", r.line)
		return
	}
	if l.Truth.Outcome != "" && r.Outcome != l.Truth.Outcome && !rule.lossy {
		v.add(wrong, "outcome %s, not %s: %s", r.Outcome, l.Truth.Outcome, r.line)
	}
}

// ours tells whether a record speaks of one of the workload's namespaces. Numbers of
// namespaces are used again: a socket that is older than ours was in another one.
func ours(j *journal, r *record) bool {
	s := j.spaces[r.NetNS]
	written, _ := writtenAt(r)
	began := written - boot(r.Duration*float64(time.Second))
	return s != nil && began > s.from-early && (s.to == 0 || r.at < s.to)
}

// excused: under churn a minisocket stays in FIN_WAIT2 now and then although both
// ends have closed, and the kernel's own list shows it there too; and on a machine
// that stands still healthy connections are stuck. What was shown when a finding opened
// goes for all its lines.
func excused(j *journal, r *record, shown map[string]bool) bool {
	if r.shown {
		shown[r.ID] = true
	}
	return j.spaces[r.NetNS].slow || shown[r.ID]
}

func (r *record) tuple() workload.Tuple {
	addr := func(text string, port uint16) netip.AddrPort {
		a, _ := netip.ParseAddr(text)
		return netip.AddrPortFrom(a, port)
	}
	return workload.Tuple{NetNS: r.NetNS, Local: addr(r.Local, r.Port), Peer: addr(r.Peer, r.PeerPort)}
}

// lifeOf finds what a record speaks of: the cookie tells sockets with the same
// ports apart; kernels before 5.12 may have none, then the latest that had begun.
func lifeOf(r *record, byTuple map[workload.Tuple][]*life) *life {
	lives := byTuple[r.tuple()]
	if r.Cookie != "" {
		cookie, err := strconv.ParseUint(r.Cookie, 16, 64)
		i := slices.IndexFunc(lives, func(l *life) bool { return l.Truth.Cookie == cookie })
		if err != nil || i < 0 {
			return nil
		}
		return lives[i]
	}
	var latest *life
	for _, l := range lives {
		if l.Since < r.at && (latest == nil || l.Since > latest.Since) {
			latest = l
		}
	}
	return latest
}

func describe(l *life, s *session) string {
	until := "still stuck"
	if l.Until != 0 {
		until = "until " + (l.Until - s.ready).String()
	}
	return fmt.Sprintf("%s %s %s→%s in %d, cookie %x, pid %d: stuck from %s after the agent was ready, %s; the agent ended at %s",
		l.Truth.State, l.Truth.Reason, l.Truth.Local, l.Truth.Peer, l.Truth.NetNS, l.Truth.Cookie, l.Truth.PID,
		l.SinceLatest-s.ready, until, s.end-s.ready)
}
