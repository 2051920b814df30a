package e2e

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// ending is one way to end one kind of stuck sockets.
type ending struct {
	spec workload.Spec
	how  workload.End
}

var endings = []ending{
	{workload.Spec{Kind: workload.SynSent}, workload.EndEstablish},
	{workload.Spec{Kind: workload.SynSent}, workload.EndRefuse},
	{workload.Spec{Kind: workload.SynSent}, workload.EndCancel},
	{workload.Spec{Kind: workload.SynSent}, workload.EndDestroy},
	{workload.Spec{Kind: workload.CloseWaitUnread, Payload: 50, Peers: workload.PeersHeld}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitUnread, Payload: 50, Peers: workload.PeersHeld}, workload.EndReset},
	{workload.Spec{Kind: workload.CloseWaitIgnored}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitIgnored, Peers: workload.PeersHeld}, workload.EndReset},
	{workload.Spec{Kind: workload.CloseWaitDrained, Payload: 50, Accepted: true}, workload.EndDestroy},
	{workload.Spec{Kind: workload.CloseWaitSending}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitSending}, workload.EndReset},
	{workload.Spec{Kind: workload.CloseWaitUnaccepted}, workload.EndClose},
	{workload.Spec{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld}, workload.EndFinish},
	{workload.Spec{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld}, workload.EndFinish},
	{workload.Spec{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait2Orphaned, OrphanSeconds: 10}, workload.EndTimeout},
	{workload.Spec{Kind: workload.FinWait1}, workload.EndFinish},
	{workload.Spec{Kind: workload.FinWait1, Shutdown: true}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait1ZeroWindow}, workload.EndReset},
	{workload.Spec{Kind: workload.Closing, Shutdown: true}, workload.EndFinish},
	{workload.Spec{Kind: workload.Closing}, workload.EndReset},
	{workload.Spec{Kind: workload.LastAck}, workload.EndFinish},
	{workload.Spec{Kind: workload.LastAck, Shutdown: true}, workload.EndReset},
}

// TestOutcomes ends each kind in each way it can end; half of the sockets are
// older than the agent.
func TestOutcomes(t *testing.T) {
	s := newScene(t)
	other := s.namespace(false)
	sets := make(map[*workload.Set]workload.End)
	makeAll := func() {
		for i, e := range endings {
			e.spec.Count, e.spec.NS = 3, other
			e.spec.Family = workload.Families()[i%3]
			sets[s.make(e.spec)] = e.how
		}
	}
	makeAll()
	a := startRun(t)
	makeAll()
	s.waitOpen(a, 15*time.Second)
	s.compare(a)
	// Those that take time end side by side.
	var wg sync.WaitGroup
	for set, how := range sets {
		wg.Go(func() {
			if err := set.End(how); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.waitResolved(a, 15*time.Second)
	a.stop(syscall.SIGTERM)
	s.compareOutcomes(a)
	s.audit(a, true)
}

// TestTimedOut lets the kernel give up connecting, after as many SYNs as the
// namespace says.
func TestTimedOut(t *testing.T) {
	s := newScene(t)
	other := s.namespace(true)
	if err := other.Sysctl("net/ipv4/tcp_syn_retries", "1"); err != nil {
		t.Fatal(err)
	}
	a := startRun(t, "--syn-sent", "1s")
	var sets []*workload.Set
	for _, f := range workload.Families() {
		sets = append(sets, s.make(workload.Spec{Kind: workload.SynSent, Family: f, Count: 10, NS: other}))
	}
	s.waitOpen(a, 10*time.Second)
	wrong := problems{t: t}
	for _, tr := range s.truths {
		for _, r := range byTuple(a.all(), "open")[tr.Tuple()] {
			in := r.seconds("tcplimbo.tcp.gives_up_seconds")
			if r.has("tcplimbo.tcp.gives_up_seconds") && (in <= 0 || in > 3*time.Second) {
				wrong.add("the kernel gives up some 3 s after the first SYN, the record of second 1 says in "+in.String(), r.line)
			}
		}
	}
	wrong.report()
	for _, set := range sets {
		if err := set.End(workload.EndTimeout); err != nil {
			t.Error(err)
		}
	}
	s.waitResolved(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.compareOutcomes(a)
	s.audit(a, true)
}

// TestUpdates: a finding that stays is repeated at growing intervals, and at
// once when the reason changes.
func TestUpdates(t *testing.T) {
	s := newScene(t)
	a := startRun(t, "--close-wait", "1s")
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 10})
	unaccepted := s.make(workload.Spec{Kind: workload.CloseWaitUnaccepted, Payload: 10})
	s.waitOpen(a, 10*time.Second)
	c := s.child(workload.ChildOptions{})
	kept, err := c.Keep(unaccepted.ListenerFD())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Accept(kept[0]); err != nil {
		t.Fatal(err)
	}
	changed := func(records []*record) bool {
		for _, r := range byTuple(records, "update")[unaccepted.Truths()[0].Tuple()] {
			if r.str("tcplimbo.finding.reason") == "eof_unread" && r.pid() == c.PID {
				return true
			}
		}
		return false
	}
	if !a.wait(10*time.Second, changed) {
		t.Error("no update after the unaccepted connection was accepted by another process")
	}
	first := s.truths[0].Tuple()
	if !a.wait(20*time.Second, func(r []*record) bool { return len(byTuple(r, "update")[first]) >= 3 }) {
		t.Fatal("fewer than three updates of a finding that stays")
	}
	a.stop(syscall.SIGTERM)
	times := []time.Time{byTuple(a.all(), "open")[first][0].time("time")}
	for _, r := range byTuple(a.all(), "update")[first] {
		times = append(times, r.time("time"))
	}
	for i := 2; i < len(times); i++ {
		before, after := times[i-1].Sub(times[i-2]), times[i].Sub(times[i-1])
		// Each line may be late by a tick and the allowance.
		if after < 2*before-2*(tick+spoken) {
			t.Errorf("update %d came after %s, the one before after %s: want at least double", i, after, before)
		}
	}
	s.audit(a, false)
}
