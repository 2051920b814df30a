package agent

import (
	"time"

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
	detect.Movers
	// Glance looks at sockets whose data moves; see tracer.Tracer.
	Glance(movers []flow.Mover, fn func(is flow.MoverIs, s *flow.Sock)) error
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

// Ticker is what a time.Ticker does.
type Ticker interface {
	Chan() <-chan time.Time
	Reset(period time.Duration)
	Stop()
}

// GoTicker is a time.Ticker as a Ticker.
type GoTicker struct{ *time.Ticker }

// Chan implements Ticker.
func (t GoTicker) Chan() <-chan time.Time { return t.C }

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
	// Ticker makes the loop's ticker; nil: a time.Ticker.
	Ticker func(period time.Duration) Ticker
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
	// Calm is called some time after the start, and after thousands were said at once:
	// what that took of memory is not needed any more. Nil: nobody is told.
	Calm func()
	// Origin knows containers, nil if they are not asked for.
	Origin Origin
}
