package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// stressJob are sockets that are made while the agent cannot keep up.
var stressJob = []workload.Spec{
	{Kind: workload.CloseWaitUnread, Count: 100, Payload: 20},
	{Kind: workload.CloseWaitUnaccepted, Count: 50, Family: workload.IPv6},
	{Kind: workload.SynSent, Count: 50},
	{Kind: workload.FinWait2HalfClosed, Count: 50, Family: workload.IPv4Mapped},
	{Kind: workload.FinWait2Orphaned, Count: 50, Family: workload.IPv6},
	{Kind: workload.LastAck, Count: 20},
}

func (s *scene) makeStress(ns *workload.Namespace) {
	s.t.Helper()
	for _, spec := range stressJob {
		spec.NS = ns
		s.make(spec)
	}
}

// losses returns how many records the agent said were lost.
func losses(records []*record) (n int64) {
	for _, r := range records {
		if r.event() == "tcplimbo.loss" {
			n += r.num("tcplimbo.loss.count")
		}
	}
	return n
}

// TestStopped: the agent is stopped for ten seconds under full load. The
// kernel side goes on alone.
func TestStopped(t *testing.T) {
	s := newScene(t)
	other, busy := s.namespace(true), s.namespace(false)
	a := startRun(t)
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	churned := make(chan struct{})
	go func() {
		defer close(churned)
		s.churnIn(ctx, workload.ChurnSpec{Connections: 2_000_000, Threads: 2, NS: busy})
	}()
	// Once before most of the churn, once after it, in both namespaces.
	s.makeStress(nil)
	<-churned
	s.makeStress(other)
	if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.waitOpen(a, 20*time.Second)
	s.witness(other)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}

// TestSmallRingBuffer: announcements overflow a buffer of one page.
func TestSmallRingBuffer(t *testing.T) { testSmall(t, "--ring-bytes", "4096") }

// TestSmallOldGeneration: most stuck sockets find no place in the kernel's map.
func TestSmallOldGeneration(t *testing.T) { testSmall(t, "--max-promoted", "64") }

func testSmall(t *testing.T, limit ...string) {
	s := newScene(t)
	other := s.namespace(true)
	a := startRun(t, limit...)
	s.makeStress(nil)
	s.churn(20_000)
	s.makeStress(other)
	s.waitOpen(a, 30*time.Second)
	if !a.wait(10*time.Second, func(r []*record) bool { return losses(r) > 0 }) {
		t.Errorf("%v must lose records, and no tcplimbo.loss record says so", limit)
	}
	s.witness(other)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}

// TestMany: more stuck sockets than any default buffer holds, all at once.
func TestMany(t *testing.T) {
	s := newScene(t)
	other := s.namespace(false)
	a := startRun(t)
	s.make(workload.Spec{Kind: workload.CloseWaitIgnored, Count: 5000, NS: other})
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 5000, NS: other, Family: workload.IPv6})
	s.waitOpen(a, 30*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}
