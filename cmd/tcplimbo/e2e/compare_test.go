package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// tick is the default of --tick.
const tick = 250 * time.Millisecond

// spoken is what the contract allows from the threshold to the line, beside
// the tick.
const spoken = 100 * time.Millisecond

// compare checks every field of the open records against the truth.
func (s *scene) compare(a *agent) {
	s.t.Helper()
	opened := byTuple(a.all(), "open")
	wrong := problems{t: s.t}
	var delays []delay
	for _, tr := range s.truths {
		for _, r := range opened[tr.Tuple()] {
			for what := range s.differences(tr, r, a) {
				wrong.add(what, fmt.Sprintf("%s for %+v", r.line, *tr))
			}
			if tr.Since.After(a.ready) {
				due := tr.SinceLatest.Add(r.seconds("tcplimbo.finding.threshold_seconds"))
				delays = append(delays, delay{r.time("time").Sub(due), tr, r})
			}
		}
	}
	wrong.report()
	s.compareDelays(delays)
}

// delay is how long after its threshold a record came.
type delay struct {
	time.Duration
	truth  *workload.Truth
	record *record
}

// lateOnBusyMachine is what a single record may be late beside the promise and
// the machine's stalls, which the median is held to.
const lateOnBusyMachine = time.Second

func (s *scene) compareDelays(delays []delay) {
	s.t.Helper()
	if len(delays) == 0 {
		return
	}
	slices.SortFunc(delays, func(a, b delay) int { return int(a.Duration - b.Duration) })
	mid, p99, last := delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1]
	s.t.Logf("delay from threshold to line: median %s, p99 %s, worst %s of %d", mid.Duration, p99.Duration, last.Duration, len(delays))
	allowed := tick + spoken + s.stalls.longest()
	if mid.Duration > allowed {
		s.t.Errorf("the median of the delays is %s, want at most %s", mid.Duration, allowed)
	}
	late := problems{t: s.t}
	for _, d := range delays {
		if d.Duration > allowed+lateOnBusyMachine {
			late.add(fmt.Sprintf("%s %s of %s was said later than %s", d.truth.State, d.truth.Reason, s.place(d.truth), allowed+lateOnBusyMachine),
				fmt.Sprintf("%s: %s for %+v", d.Duration, d.record.line, *d.truth))
		}
	}
	late.report()
}

// differences yields what a record says wrongly, the value left out so that
// alike failures are counted together.
func (s *scene) differences(tr *workload.Truth, r *record, a *agent) map[string]bool {
	out := map[string]bool{}
	eq := func(key string, want any) {
		got, ok := r.fields[key]
		if want == nil && !ok || ok && fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if _, text := want.(string); text && len(fmt.Sprint(got)) < 20 {
			out[fmt.Sprintf("%s is %v, not %v, in %s", key, got, want, tr.Reason)] = true
			return
		}
		out[fmt.Sprintf("%s is wrong in %s of %s", key, tr.Reason, s.place(tr))] = true
	}
	eq("tcplimbo.finding.kind", tr.Kind)
	eq("tcplimbo.finding.reason", tr.Reason)
	eq("network.connection.state", tr.State)
	eq("network.transport", "tcp")
	eq("network.type", tr.Network)
	eq("network.local.address", tr.Local.Addr())
	eq("network.peer.address", tr.Peer.Addr())
	eq("tcplimbo.socket.cookie", strconv.FormatUint(tr.Cookie, 16))
	eq("tcplimbo.socket.inode", orNil(tr.Inode))
	eq("tcplimbo.socket.netns", tr.NetNS)
	if r.has("tcplimbo.tcp.role") {
		eq("tcplimbo.tcp.role", tr.Role)
	}
	if tr.FD < 0 && tr.Relation == "closer" && tr.Since.Before(a.ready) {
		// Nobody saw who closed it, and nothing in the kernel tells.
		for _, key := range []string{"process.pid", "process.executable.name", "tcplimbo.process.relation"} {
			eq(key, nil)
		}
	} else {
		s.compareProcess(tr, eq)
	}
	if tr.FD >= 0 {
		eq("tcplimbo.socket.fd", tr.FD)
		eq("tcplimbo.socket.holders", fmt.Sprintf("[%d/%d]", tr.PID, tr.FD))
	} else {
		eq("tcplimbo.socket.fd", nil)
		eq("tcplimbo.socket.holders", nil)
	}
	if tr.State == "close_wait" && tr.Reason != "still_sending" && int(r.num("tcplimbo.tcp.unread_bytes")) != tr.Unread {
		out["tcplimbo.tcp.unread_bytes is wrong in "+tr.Reason] = true
	}
	if tr.State == "syn_sent" {
		// Neither has ever happened: a SYN is no data.
		eq("tcplimbo.tcp.last_receive_seconds", nil)
		eq("tcplimbo.tcp.last_send_seconds", nil)
	}
	s.compareAge(tr, r, a, out)
	s.compareEnd(tr, r, out)
	return out
}

func (s *scene) compareProcess(tr *workload.Truth, eq func(string, any)) {
	eq("tcplimbo.process.relation", tr.Relation)
	eq("process.pid", tr.PID)
	if tr.PID == os.Getpid() {
		eq("process.executable.name", filepath.Base(os.Args[0]))
		eq("process.user.id", os.Getuid())
	}
}

func orNil(n uint64) any {
	if n == 0 {
		return nil
	}
	return n
}

// compareAge checks since when: exact to a tick for what the agent saw being
// born, a bound for what was there before.
func (s *scene) compareAge(tr *workload.Truth, r *record, a *agent, out map[string]bool) {
	since, exact := r.time("tcplimbo.finding.since"), r.str("tcplimbo.finding.since_exact") == "" && r.fields["tcplimbo.finding.since_exact"] == true
	if tr.Since.After(a.ready) && !exact {
		out["since_exact is false for a socket seen from birth: "+tr.State+" "+tr.Reason] = true
	}
	switch {
	case exact && (since.Before(tr.Since.Add(-tick)) || since.After(tr.SinceLatest.Add(tick+s.stalls.longest()))):
		out["since is wrong in "+tr.State+" "+tr.Reason] = true
	case !exact && since.Before(tr.Since.Add(-tick)):
		// "the latest moment it can have been": never earlier than the truth.
		out["since is before the socket was stuck: "+tr.State+" "+tr.Reason] = true
	}
	lasted := r.seconds("tcplimbo.finding.duration_seconds")
	if d := r.time("time").Sub(since) - lasted; d.Abs() > tick+s.stalls.longest() {
		out["duration_seconds does not fit time and since"] = true
	}
	if lasted < r.seconds("tcplimbo.finding.threshold_seconds") {
		out["flagged before the threshold: "+tr.State] = true
	}
}

// compareEnd checks what the record says about the kernel's own end to it.
func (s *scene) compareEnd(tr *workload.Truth, r *record, out map[string]bool) {
	never := r.str("tcplimbo.tcp.gives_up") == "never"
	in := r.seconds("tcplimbo.tcp.gives_up_seconds")
	switch tr.Reason {
	case "eof_unread", "eof_ignored", "half_closed":
		if !never {
			out["gives_up is not never in "+tr.Reason] = true
		}
	case "no_reply":
		// tcp_syn_retries is 6 by default, tcp_syn_linear_timeouts 4: 131 s,
		// and timers are late by up to an eighth.
		if never || in <= 0 || in > 148*time.Second {
			out["gives_up_seconds is wrong in "+tr.Reason] = true
		}
	case "orphaned":
		// tcp_fin_timeout is a minute by default.
		if never || in <= 0 || in > 68*time.Second {
			out["gives_up_seconds is wrong in "+tr.Reason] = true
		}
	}
}

// witness checks the truths themselves against sock_diag and /proc at this
// moment, so that a wrong truth cannot agree with a wrong record.
func (s *scene) witness(spaces ...*workload.Namespace) {
	s.t.Helper()
	wrong := problems{t: s.t}
	seen := make(map[workload.Tuple]workload.DiagSock)
	for _, ns := range append(spaces, nil) {
		socks, err := workload.Diag(ns)
		if err != nil {
			s.t.Fatal(err)
		}
		for k, v := range socks {
			seen[k] = v
		}
	}
	for _, tr := range s.truths {
		d, ok := seen[tr.Tuple()]
		if !ok || d.Cookie != tr.Cookie || d.StateName() != tr.State || uint64(d.Inode) != tr.Inode {
			wrong.add(fmt.Sprintf("the witness disagrees about %s %s: %q", tr.State, tr.Reason, d.StateName()), tr)
		}
		if tr.FD < 0 {
			continue
		}
		got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tr.PID, tr.FD))
		if want := fmt.Sprintf("socket:[%d]", tr.Inode); err != nil || got != want {
			wrong.add("the witness disagrees about a descriptor", tr)
		}
	}
	wrong.report()
}

// compareOutcomes checks the resolved records.
func (s *scene) compareOutcomes(a *agent) {
	s.t.Helper()
	ended := byTuple(a.all(), "resolved")
	wrong := problems{t: s.t}
	for _, tr := range s.truths {
		for _, r := range ended[tr.Tuple()] {
			if tr.State == "fin_wait_1" && tr.Companion && r.outcome() == "recovered" {
				// The peers' FINs cross: whether ours is acknowledged before
				// theirs arrives is up to the timers.
				continue
			}
			if r.outcome() != tr.Outcome {
				wrong.add(fmt.Sprintf("outcome of %s %s is %s, not %s", tr.State, tr.Reason, r.outcome(), tr.Outcome), r.line)
			}
		}
	}
	wrong.report()
}
