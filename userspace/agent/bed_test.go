package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

const (
	tick     = 250 * time.Millisecond
	uptime   = 1000 * time.Second // of the host when a test begins
	inTime   = tick + 100*time.Millisecond
	closeAge = 30 * time.Second
)

var thresholds = [finding.KindCount]time.Duration{
	finding.SynSentStalled:     3 * time.Second,
	finding.FinWait2Dangling:   30 * time.Second,
	finding.CloseWaitSilent:    closeAge,
	finding.EstablishedStalled: 15 * time.Second,
	finding.ClosingStalled:     60 * time.Second,
}

// bed is an agent on a fake kernel, inside a bubble where time is the test's.
type bed struct {
	t      *testing.T
	k      *fakeKernel
	out    *recorder
	meter  *gauges
	agent  *Agent
	cfg    Config
	cancel context.CancelFunc
	done   chan error
	ended  bool
	// wrap stands between the agent and out.
	wrap func(Output) Output

	mu    sync.Mutex
	step  time.Duration // by which the wall clock was set
	ready []time.Duration
}

// inBubble runs f with a bed; what f does not stop is stopped.
func inBubble(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newBed(t)) })
}

func newBed(t *testing.T) *bed {
	begin := time.Now()
	b := &bed{t: t, out: &recorder{}, meter: newGauges(t)}
	boot := func() time.Duration { return uptime + time.Since(begin) }
	b.k = newFakeKernel(boot)
	b.k.watch = States(thresholds)
	b.cfg = Config{
		Settings: Settings{Rules: rules.Set{Base: thresholds}, Tick: tick}, Beat: func() {},
		BootID: "boot", ProcRoot: t.TempDir(),
		BootTime: boot, Now: b.wall, CPUTime: boot,
		Ready: func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ready = append(b.ready, boot())
			return nil
		},
	}
	return b
}

func (b *bed) wall() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.step)
}

// setClock sets the wall clock forward (or back) as an administrator does.
func (b *bed) setClock(by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.step += by
}

// start starts the agent and returns after its snapshot.
func (b *bed) start() {
	var out Output = b.out
	if b.wrap != nil {
		out = b.wrap(out)
	}
	b.agent = New(b.cfg, b.k, out, b.meter, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.agent.Run(ctx) }()
	b.t.Cleanup(func() {
		if b.ended {
			return
		}
		if err := b.stop(); err != nil {
			b.t.Errorf("the agent ended with %v", err)
		}
	})
	synctest.Wait()
}

// stop ends the agent and returns what Run returned.
func (b *bed) stop() error {
	b.ended = true
	b.cancel()
	return <-b.done
}

// pass lets time go by.
func (b *bed) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect lets time go by and compares what is said of sockets meanwhile.
func (b *bed) expect(d time.Duration, want ...string) []finding.Finding {
	b.t.Helper()
	b.pass(d)
	return b.said(want...)
}

func (b *bed) said(want ...string) []finding.Finding {
	b.t.Helper()
	findings := b.out.take()
	var got []string
	for i := range findings {
		got = append(got, words(&findings[i]))
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("said %q, want %q", got, want)
	}
	return findings
}

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

// atZero reports that everything that opened was resolved.
func (b *bed) atZero() {
	b.t.Helper()
	g := b.meter
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, n := range g.open {
		if n != 0 {
			b.t.Errorf("%d findings of %v %v are open in the metrics", n, finding.Kind(key[0]), finding.Reason(key[1]))
		}
	}
	if g.opened != g.resolved {
		b.t.Errorf("%d opened, %d resolved", g.opened, g.resolved)
	}
	if n := len(b.agent.open); n != 0 {
		b.t.Errorf("%d findings that ended are remembered", n)
	}
}

func task(pid uint32) flow.Task { return flow.Task{PID: pid, TID: pid, Comm: fmt.Sprintf("p%d", pid)} }
