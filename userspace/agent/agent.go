// Package agent joins the kernel side, the verdicts and the sinks: one loop on
// one goroutine reads, decides and hands on. It is made of interfaces, so that
// it can be tested without a kernel.
package agent

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// Agent is the daemon's loop.
type Agent struct {
	cfg    Config
	kernel Kernel
	out    Output
	meter  Meter
	log    zerolog.Logger

	detector *detect.Detector
	owners   *owner.Resolver
	peers    peers
	stacks   *stacks
	// aside is what runs beside the loop, until its context is done.
	aside   sync.WaitGroup
	states  flow.StateSet
	started time.Duration

	losses            losses
	survey            survey
	patrol            patrol
	audit             audit
	keeping           keeping
	usage             usage
	flush             flush
	nextAge, nextTick time.Duration
	ticker            Ticker
	// quiet is until when no sockets are judged, because looking for holders
	// or other ends has just cost much.
	quiet, holderCost time.Duration
	// storm is when thousands were said last, or the start; 0 once Calm knows of it.
	storm time.Duration

	// dropsOn: dropped packets are looked at, until dropsUntil at least.
	dropsOn     bool
	dropsUntil  time.Duration
	dropsFailed sync.Once
	// wasConnecting: a connect waited at the last tick.
	wasConnecting bool

	queries []owner.Query
	pending []*detect.Verdict
	again   []*flow.Sock
	batch   []*flow.Sock
	// of pending: how many were said, and up to which they were read for that
	spoken, readTo int
	stuck          []*flow.Sock
	found          []*flow.Sock
	// confirmed and wall are when the reading was done that is put into words.
	confirmed time.Duration
	wall      time.Time

	record  finding.Finding
	open    map[string]opened
	onEvent func(*flow.Event)
	events  [flow.EventKindCount]uint64
	// retransmits are those that the meter was told.
	retransmits [flow.RetransmitKinds]uint64
}

// New returns an Agent on an attached kernel side.
func New(cfg Config, kernel Kernel, out Output, meter Meter, log zerolog.Logger) *Agent {
	least := cfg.Rules.Least()
	a := &Agent{
		cfg: cfg, kernel: kernel, out: out, meter: meter, log: log,
		owners: owner.New(kernel, cfg.ProcRoot),
		peers:  peers{source: kernel},
		stacks: newStacks(cfg.Stacks),
		states: States(least),
		open:   make(map[string]opened),
		survey: newSurvey(&least, cfg.Polled),
		patrol: newPatrol(least[finding.EstablishedStalled], cfg.IdleAudit),
		audit:  audit{after: cfg.IdleAudit, told: make(map[flow.Key]uint64)},
		flush:  flush{book: writequeue.New(cfg.Queues)},

		keeping: keeping{noted: make(map[flow.Key]notedSock)},
	}
	a.detector = detect.New(detect.Config{
		Threshold: least,
		Tick:      cfg.Tick,
		NewID:     newID(cfg.BootID),
		Movers:    kernel,
	})
	a.usage.counted, _ = kernel.(Counted)
	a.onEvent = func(e *flow.Event) {
		if e.Kind < flow.EventKindCount {
			a.events[e.Kind]++
		}
		if e.Kind == flow.EventPromoted {
			a.stacks.promoted(e.ID)
		}
		a.detector.Event(e)
	}
	return a
}

// States are the states that have to be watched for these thresholds. FIN_WAIT1
// is the way to FIN_WAIT2 and knows who went it.
func States(threshold [finding.KindCount]time.Duration) flow.StateSet {
	var set flow.StateSet
	for s := flow.StateUnknown; s < flow.StateMax; s++ {
		if k := finding.KindOf(s); k != finding.KindNone && threshold[k] > 0 {
			set |= s.Bit()
		}
	}
	if threshold[finding.FinWait2Dangling] > 0 {
		set |= flow.StateFinWait1.Bit()
	}
	return set &^ flow.StateEstablished.Bit()
}

// wakeStep rounds deadlines up, so that many sockets that fall due one after
// the other share a look at their values and holders.
const wakeStep = 40 * time.Millisecond

// tickParts: what is due so small a part of a tick before it waits for it.
const tickParts = 8

// Run works until ctx is done. What is known then is written before it returns.
func (a *Agent) Run(ctx context.Context) error {
	a.started = a.cfg.BootTime()
	a.nextAge, a.nextTick = a.started+a.cfg.Tick, a.started+a.cfg.Tick
	ctx, stop := context.WithCancel(ctx)
	defer a.join(stop)
	a.startStacks(ctx)
	a.startGoroutines(ctx)
	if err := a.restore(a.started); err != nil {
		return err
	}
	if err := a.resync(a.started); err != nil {
		return err
	}
	if err := a.cfg.Ready(); err != nil {
		return err
	}
	a.storm = a.cfg.BootTime()
	timer := time.NewTimer(0)
	defer timer.Stop()
	a.ticker = a.newTicker()
	defer a.ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return a.last()
		case s := <-a.cfg.Reload:
			a.apply(s)
		case <-a.ticker.Chan():
			a.nextTick = a.started
		case <-timer.C:
		}
		a.cfg.Beat()
		if err := a.step(a.cfg.BootTime()); err != nil {
			return err
		}
		if d := a.sleep(); d < math.MaxInt64 {
			timer.Reset(d)
		}
	}
}

func (a *Agent) newTicker() Ticker {
	if a.cfg.Ticker != nil {
		return a.cfg.Ticker(a.cfg.Tick)
	}
	return GoTicker{time.NewTicker(a.cfg.Tick)}
}

// sleep returns how long until there is something to do that does not wait for the
// ticker. That is set once, where a timer that is set at each tick has the Go runtime
// wake another thread to heed it.
func (a *Agent) sleep() time.Duration {
	now := a.cfg.BootTime()
	wake := a.nextAge
	if due, ok := a.detector.Next(); ok {
		wake = min(wake, max(due, now, a.quiet)+wakeStep)
	}
	if a.patrol.walking {
		wake = min(wake, now+slicePause)
	}
	if due, ok := a.flush.due(); ok {
		wake = min(wake, due)
	}
	if wake >= a.nextTick-a.cfg.Tick/tickParts {
		return math.MaxInt64
	}
	return max(0, wake-now)
}

// last takes what the kernel side still has to tell.
func (a *Agent) last() error {
	if err := a.kernel.Events(a.onEvent); err != nil {
		return err
	}
	if err := a.speak(); err != nil {
		return err
	}
	stats, err := a.kernel.Stats()
	if err != nil {
		return err
	}
	a.countEvents()
	a.countRetransmits(&stats)
	a.losses.note(stats.Losses)
	a.sayLosses(a.cfg.BootTime(), true)
	a.out.Tick(a.cfg.BootTime(), a.cfg.Now(), true)
	return nil
}

func (a *Agent) step(now time.Duration) error {
	if now >= min(a.nextAge, a.nextTick) {
		if err := a.age(now); err != nil {
			return err
		}
	}
	if now >= a.nextTick {
		if err := a.tick(now); err != nil {
			return err
		}
	}
	if err := a.kernel.Events(a.onEvent); err != nil {
		return err
	}
	if err := a.judge(); err != nil {
		return err
	}
	if err := a.speak(); err != nil {
		return err
	}
	if err := a.patrolSome(); err != nil {
		return err
	}
	return a.follow(a.cfg.BootTime())
}

// age gives the sockets of the young generation a tick to leave their state.
// Where they come faster than the rings hold for that long, less: early looks
// cost more.
func (a *Agent) age(now time.Duration) error {
	pace := min(a.cfg.Tick, a.kernel.AgePace())
	err := a.kernel.Age(pace, func() error { return a.kernel.Events(a.onEvent) })
	if err != nil {
		return err
	}
	a.nextAge = now + min(a.cfg.Tick, a.kernel.AgePace())
	return nil
}

// tick is what happens at a steady pace: looking for losses and for what no
// event told of.
func (a *Agent) tick(now time.Duration) error {
	a.nextTick = now + a.cfg.Tick
	a.calm(now)
	a.countEvents()
	// Who is not flagged is read again before it is.
	if err := a.kernel.Follow(len(a.open) > 0); err != nil {
		return err
	}
	stats, err := a.kernel.Stats()
	if err != nil {
		return err
	}
	a.meter.Kernel(stats)
	a.countRetransmits(&stats)
	if err := a.lookAtUsage(now); err != nil {
		return err
	}
	a.survey.note(stats.Hidden + a.detector.Unseen())
	if a.losses.note(stats.Losses) || a.survey.due(now) && !a.carries(now) {
		if err := a.resync(now); err != nil {
			return err
		}
	}
	if a.patrol.due(now) {
		a.beginPatrol(now)
	}
	if err := a.glance(now); err != nil {
		return err
	}
	a.watchDrops(now)
	a.keepSome(now)
	if err := a.tendStacks(now, stats.StacksRefused); err != nil {
		return err
	}
	if err := a.settle(now); err != nil {
		return err
	}
	a.sayLosses(now, false)
	a.out.Tick(a.cfg.BootTime(), a.cfg.Now(), false)
	return nil
}

func (a *Agent) countEvents() {
	for k, n := range a.events {
		if n > 0 {
			a.meter.Events(flow.EventKind(k).String(), n)
			a.events[k] = 0
		}
	}
}

// speakMost is how much is said at once: where 100,000 sockets are stuck at the
// start, what is known of them is not held in memory twice.
const speakMost = 8192

// judge reads the sockets that are due and lets the detector decide.
func (a *Agent) judge() error {
	for {
		now := a.cfg.BootTime()
		if now < a.quiet {
			return nil
		}
		if a.detector.Decided() >= speakMost {
			return nil // the rest when these are said
		}
		socks := a.detector.Due(now)
		if len(socks) == 0 {
			return nil
		}
		if err := a.kernel.Read(socks, false); err != nil {
			return fmt.Errorf("reading sockets: %w", err)
		}
		a.detector.Judge(now)
	}
}
