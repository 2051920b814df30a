package agent

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

func words(f *finding.Finding) string {
	if f.Status == finding.Resolved {
		return fmt.Sprintf("%v %v", f.Status, f.Outcome)
	}
	return fmt.Sprintf("%v %v", f.Status, f.Reason)
}

// recorder keeps what the agent says. A record is only valid during the call.
type recorder struct {
	mu       sync.Mutex
	findings []finding.Finding
	losses   []finding.Loss
	queues   []finding.WriteQueue
	// during runs once, while a finding is written.
	during func()
}

func (r *recorder) Finding(f *finding.Finding) {
	r.mu.Lock()
	during := r.during
	r.during = nil
	r.mu.Unlock()
	if during != nil {
		during()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := *f
	kept.Owner.Holders = slices.Clone(f.Owner.Holders)
	r.findings = append(r.findings, kept)
}

func (r *recorder) Tick(time.Duration, time.Time, bool) {}

func (r *recorder) Loss(l *finding.Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, *l)
}

func (r *recorder) WriteQueue(w *finding.WriteQueue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queues = append(r.queues, *w)
}

func (r *recorder) stop(during func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.during = during
}

func (r *recorder) take() []finding.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.findings
	r.findings = nil
	return f
}

func (r *recorder) takeLosses() []finding.Loss {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.losses
	r.losses = nil
	return l
}

// gauges are the metrics; they must never be below 0.
type gauges struct {
	t        *testing.T
	mu       sync.Mutex
	open     map[[2]uint8]int
	opened   int
	resolved int
	lost     map[string]uint64
	events   map[string]uint64
	resent   map[string]uint64
	delays   []time.Duration
	kernel   flow.Stats
	patrols  int
	queues   flow.WriteQueues
	flushed  [len(writequeue.Bounds) + 1]int
}

func newGauges(t *testing.T) *gauges {
	return &gauges{t: t, open: map[[2]uint8]int{}, lost: map[string]uint64{}, events: map[string]uint64{}, resent: map[string]uint64{}}
}

func (g *gauges) add(k finding.Kind, r finding.Reason, n int) {
	g.open[[2]uint8{uint8(k), uint8(r)}] += n
	if g.open[[2]uint8{uint8(k), uint8(r)}] < 0 {
		g.t.Errorf("fewer than no open findings of %v %v", k, r)
	}
}

func (g *gauges) Opened(k finding.Kind, r finding.Reason, _ *finding.Workload) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened++
	g.add(k, r, 1)
}

func (g *gauges) Changed(k finding.Kind, from, to finding.Reason, _, _ *finding.Workload) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(k, from, -1)
	g.add(k, to, 1)
}

func (g *gauges) Resolved(k finding.Kind, r finding.Reason, _ finding.Outcome, d time.Duration, _ *finding.Workload) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resolved++
	g.add(k, r, -1)
	if d < 0 {
		g.t.Errorf("%v lasted %v", k, d)
	}
}

func (g *gauges) Attributed(finding.Relation) {}
func (g *gauges) Survey(time.Duration)        {}
func (g *gauges) Census(flow.Census)          {}
func (g *gauges) Usage(flow.Usage)            {}

func (g *gauges) Kernel(s flow.Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kernel = s
}

func (g *gauges) counters() flow.Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kernel
}

func (g *gauges) Lost(stage string, n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost[stage] += n
}

func (g *gauges) Events(kind string, n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events[kind] += n
}

func (g *gauges) Retransmits(kind string, n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resent[kind] += n
}

func (g *gauges) Delay(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delays = append(g.delays, d)
}

func (g *gauges) Patrol(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.patrols++
	if d < 0 {
		g.t.Errorf("a patrol took %v", d)
	}
}

func (g *gauges) WriteQueues(q flow.WriteQueues, _ []writequeue.Row, _ [finding.QueueLimits]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queues = q
}

func (g *gauges) Flushed(bucket int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flushed[bucket]++
}
