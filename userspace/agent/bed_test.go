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
