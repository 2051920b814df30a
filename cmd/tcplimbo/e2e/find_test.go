package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// mainJob are the sockets of the main scenario; counts are per part: made
// before or after the start, in the host's or another namespace, in IPv4 or
// IPv6, which makes eight parts. The peers of the FIN_WAIT2 sockets are in
// CLOSE_WAIT and make their number 1,000.
var mainJob = []workload.Spec{
	{Kind: workload.CloseWaitUnread, Count: 25, Payload: 100},
	{Kind: workload.CloseWaitIgnored, Count: 20, Payload: 7, Accepted: true},
	{Kind: workload.CloseWaitDrained, Count: 10, Payload: 7},
	{Kind: workload.CloseWaitUnaccepted, Count: 20, Payload: 9},
	{Kind: workload.SynSent, Count: 25},
	{Kind: workload.FinWait2HalfClosed, Count: 25, Peers: workload.PeersHeld},
	{Kind: workload.FinWait2Orphaned, Count: 25, Peers: workload.PeersHeld},
}

// churned is how many healthy connections pass beside the stuck ones.
const churned = 100_000

// TestMainJob is the product's promise: 1,000 CLOSE_WAIT, 200 SYN_SENT, 200
// half-closed and 200 orphaned FIN_WAIT2 sockets, some of them older than the
// agent, while 100,000 connections open and close beside them.
func TestMainJob(t *testing.T) {
	s := newScene(t)
	other := s.namespace(true)
	var sets []*workload.Set
	makeAll := func() {
		for _, spec := range mainJob {
			for _, f := range []workload.Family{workload.IPv4, workload.IPv6} {
				for _, ns := range []*workload.Namespace{nil, other} {
					spec.Family, spec.NS = f, ns
					sets = append(sets, s.make(spec))
				}
			}
		}
	}
	makeAll()
	a := startRun(t)
	makeAll()
	s.witness(other)
	s.churn(churned)
	s.waitOpen(a, 20*time.Second)
	s.witness(other)
	s.compare(a)
	endAll(t, sets)
	s.waitResolved(a, 20*time.Second)
	a.stop(syscall.SIGTERM)
	s.compareOutcomes(a)
	s.audit(a, true)
}

// churn opens and closes healthy connections in a namespace of their own, so
// that their TIME_WAIT sockets do not fill the host's table.
func (s *scene) churn(n int) {
	s.t.Helper()
	s.churnIn(context.Background(), workload.ChurnSpec{Connections: n, Threads: 2, NS: s.namespace(false)})
}

// leastThreshold is the lowest threshold in quick.
const leastThreshold = 2 * time.Second

func (s *scene) churnIn(ctx context.Context, spec workload.ChurnSpec) {
	s.t.Helper()
	res, err := workload.Churn(ctx, spec)
	if err != nil {
		s.t.Error(err)
	}
	if res.Connections != spec.Connections && ctx.Err() == nil {
		s.t.Errorf("churned %d connections, want %d", res.Connections, spec.Connections)
	}
	s.t.Logf("%d healthy connections, %.0f a second, the slowest took %s", res.Connections, res.Rate(), res.Slowest)
	if res.Slowest > leastThreshold-tick {
		inode, err := spec.NS.Inode()
		if err != nil {
			s.t.Error(err)
		}
		s.t.Log("this machine is so slow that findings about them would be true")
		s.slow[inode] = true
	}
}

// endAll ends every set in its kind's usual way.
func endAll(t *testing.T, sets []*workload.Set) {
	t.Helper()
	for _, set := range sets {
		if err := set.End(""); err != nil {
			t.Error(err)
		}
	}
}

// TestFamilies finds IPv4-mapped sockets and both ends of connections that
// are stuck at both.
func TestFamilies(t *testing.T) {
	s := newScene(t)
	other := s.namespace(false)
	specs := []workload.Spec{
		{Kind: workload.CloseWaitUnread, Peers: workload.PeersHeld, Payload: 3},
		{Kind: workload.CloseWaitIgnored, Peers: workload.PeersOrphaned},
		{Kind: workload.CloseWaitSending},
		{Kind: workload.CloseWaitUnaccepted, Peers: workload.PeersHeld},
		{Kind: workload.SynSent},
		{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld, Accepted: true},
		{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld, Accepted: true},
		{Kind: workload.FinWait1},
		{Kind: workload.FinWait1, Shutdown: true},
		{Kind: workload.FinWait1ZeroWindow},
		{Kind: workload.FinWait1ZeroWindow, Shutdown: true},
		{Kind: workload.Closing},
		{Kind: workload.Closing, Shutdown: true},
		{Kind: workload.LastAck},
		{Kind: workload.LastAck, Shutdown: true},
	}
	makeAll := func() {
		for _, spec := range specs {
			for _, f := range workload.Families() {
				spec.Count, spec.Family, spec.NS = 2, f, other
				s.make(spec)
			}
		}
	}
	makeAll()
	a := startRun(t)
	makeAll()
	s.waitOpen(a, 15*time.Second)
	s.witness(other)
	s.compare(a)
	a.stop(syscall.SIGINT)
	s.audit(a, false)
}

// TestSilentNetwork: the SYN leaves the namespace and nothing comes back, as
// from a firewall or a machine that is off.
func TestSilentNetwork(t *testing.T) {
	s := newScene(t)
	a := startRun(t)
	near := s.namespace(true)
	lab := s.lab(near)
	var sets []*workload.Set
	for _, f := range workload.Families() {
		sets = append(sets, s.make(workload.Spec{Kind: workload.SynSent, Family: f, Count: 5, NS: near, Lab: lab}))
	}
	s.waitOpen(a, 10*time.Second)
	s.witness(near)
	s.compare(a)
	for _, set := range sets {
		if err := set.End(workload.EndUnreachable); err != nil {
			t.Error(err)
		}
	}
	s.waitResolved(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.compareOutcomes(a)
	s.audit(a, true)
}

// TestNothingHealthy: connections that pass through the watched states but do
// not stay are no findings, and an empty scene gives no output.
func TestNothingHealthy(t *testing.T) {
	s := newScene(t)
	a := startRun(t)
	other := s.namespace(false)
	for range 5 {
		for _, k := range []workload.Kind{workload.CloseWaitUnread, workload.SynSent, workload.FinWait2HalfClosed} {
			brief, err := workload.Make(workload.Spec{Kind: k, Count: 100, NS: other, Payload: 10, Peers: workload.PeersHeld})
			if err != nil {
				t.Fatal(err)
			}
			if err := brief.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	held, err := workload.Hold(other, workload.IPv6, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	// Above the threshold, the tick and the allowance: what would be said
	// about the sockets above has been said by now, or this one has not.
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, NS: other})
	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}
