// Package agent joins the kernel side, the verdicts and the sinks: one loop on
// one goroutine reads, decides and hands on. It is made of interfaces, so that
// it can be tested without a kernel.
package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
	"github.com/tcplimbo/tcplimbo/userspace/peer"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// Kernel is the kernel side. Its methods are called from one goroutine.
type Kernel interface {
	owner.Source
	peer.Source
	owner.Addresses
	// Age promotes sockets that have been in their state for at least this long.
	Age(young time.Duration, flush func() error) error
	// AgePace is how soon to do so again at the present rate of connections.
	AgePace() time.Duration
	Events(fn func(*flow.Event)) error
	Read(socks []*flow.Sock, track bool) error
	Walk(want flow.WalkStates, fn func(*flow.Sock)) error
	// WalkSome does a part of a walk and reports whether it was the last; Walk
	// makes it begin anew.
	WalkSome(want flow.WalkStates, fn func(*flow.Sock)) (done bool, err error)
	Recall(key flow.Key) (opener flow.Task, since time.Duration, ok bool)
	// Cookie makes the cookie of a socket that has none; see tracer.Tracer.
	Cookie(id flow.ID) (uint64, error)
	// Follow says whether every transition of tracked sockets matters.
	Follow(every bool) error
	Stats() (flow.Stats, error)
	// WriteQueues is what the last walk added up.
	WriteQueues() (flow.WriteQueues, error)
	// WatchSYN begins or ends looking at packets that this host drops.
	WatchSYN(on bool) error
}

// Output takes what the agent says.
type Output interface {
	Finding(f *finding.Finding)
	Loss(l *finding.Loss)
	// Tick says what time it is, once a tick and at the end: since boot and by the
	// wall clock.
	Tick(now time.Duration, wall time.Time, end bool)
	WriteQueue(w *finding.WriteQueue)
}

// Meter is told what the agent does, for metrics.
type Meter interface {
	// Opened, Changed and Resolved are told of which workload a finding is; nil
	// where that is not known, and what is told last counts.
	Opened(k finding.Kind, r finding.Reason, w *finding.Workload)
	Changed(k finding.Kind, from, to finding.Reason, was, is *finding.Workload)
	Resolved(k finding.Kind, r finding.Reason, o finding.Outcome, d time.Duration, w *finding.Workload)
	// Attributed counts whom a finding named when it opened.
	Attributed(r finding.Relation)
	Lost(stage string, n uint64)
	Events(kind string, n uint64)
	Retransmits(kind string, n uint64)
	Delay(d time.Duration)
	// Kernel takes the kernel side's counters, once a tick.
	Kernel(s flow.Stats)
	// WriteQueues takes what a patrol found waiting to be acknowledged, the pairs
	// with most of it, and how many are above each limit.
	WriteQueues(q flow.WriteQueues, rows []writequeue.Row, above [finding.QueueLimits]int)
	// Flushed takes the bucket of a flush delay, see writequeue.Bounds.
	Flushed(bucket int)
	Patrol(cost time.Duration)
	// Survey counts a walk for what no event told.
	Survey(cost time.Duration)
	Census(c flow.Census)
	Usage(u flow.Usage)
}

// Config is what an Agent needs.
type Config struct {
	Settings
	// Polled: no event tells of connections, so that all are walked often.
	Polled bool
	// Reload gives other settings; nil if they never change.
	Reload <-chan *Settings
	// Queues are the limits of what waits to be acknowledged.
	Queues writequeue.Limits
	// BootID makes finding ids unique across hosts and boots.
	BootID string
	// ProcRoot is where the proc file system is mounted.
	ProcRoot string
	// BootTime is the clock of events and ages, Now the wall clock.
	BootTime func() time.Duration
	Now      func() time.Time
	// CPUTime is what the process has used of all CPUs. Walks are spaced by
	// what they cost, and on a busy host they take longer than that.
	CPUTime func() time.Duration
	// Keep keeps what the next run has to know, Kept is what the last one left; nil
	// where nothing is kept.
	Keep Keeper
	Kept []flow.Kept
	// Stacks says which code opened a socket; nil: nothing does.
	Stacks *Stacks
	// Goroutines asks Go programs what theirs do; nil: nothing does.
	Goroutines Goroutines
	// Ready is called once, when the first snapshot is done.
	Ready func() error
	// Beat is called each time that the loop comes round, at least once a tick.
	Beat func()
	// Origin knows containers, nil if they are not asked for.
	Origin Origin
}

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
	states   flow.StateSet
	started  time.Duration

	losses            losses
	survey            survey
	patrol            patrol
	audit             audit
	keeping           keeping
	usage             usage
	flush             flush
	nextAge, nextTick time.Duration
	// quiet is until when no sockets are judged, because looking for holders
	// or other ends has just cost much.
	quiet, holderCost time.Duration

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

// Run works until ctx is done. What is known then is written before it returns.
func (a *Agent) Run(ctx context.Context) error {
	a.started = a.cfg.BootTime()
	a.nextAge, a.nextTick = a.started+a.cfg.Tick, a.started+a.cfg.Tick
	ctx, stop := context.WithCancel(ctx)
	defer stop()
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return a.last()
		case s := <-a.cfg.Reload:
			a.apply(s)
		case <-timer.C:
		}
		a.cfg.Beat()
		if err := a.step(a.cfg.BootTime()); err != nil {
			return err
		}
		timer.Reset(a.sleep())
	}
}

// sleep returns how long until there is something to do.
func (a *Agent) sleep() time.Duration {
	now := a.cfg.BootTime()
	wake := min(a.nextAge, a.nextTick)
	if due, ok := a.detector.Next(); ok {
		wake = min(wake, max(due, now, a.quiet)+wakeStep)
	}
	if a.patrol.walking {
		wake = min(wake, now+slicePause)
	}
	if due, ok := a.flush.due(); ok {
		wake = min(wake, due)
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
	if now >= a.nextAge {
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
	if a.losses.note(stats.Losses) || a.survey.due(now) {
		if err := a.resync(now); err != nil {
			return err
		}
	}
	if a.patrol.due(now) {
		a.beginPatrol(now)
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
