// Package detect decides which sockets are in limbo. It is pure: time is an
// argument, kernel values are arguments, and what it decides are values; the
// same calls give the same verdicts.
//
// Events say that something may have happened, readings say what is. A verdict
// is only given on a reading of the same moment.
package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// freeMax bounds the entries kept for reuse, some 2 MiB.
	freeMax = 4096
	// batch is how many sockets one Due call hands out.
	batch = 2048
	// pollLeast is how often an open finding's socket is read, to notice that
	// the reason changed or that it ended unseen. Many take longer: at most
	// pollRate readings a second, which cost 0.1 % of a core.
	pollLeast = time.Second
	pollRate  = 2000
	// stallPollRate is the same for ESTABLISHED: their end is told by events, and
	// that data moves again may be noticed late where thousands stand.
	stallPollRate = 500
	// idlePoll is how often a socket is looked at whose kind is turned off.
	idlePoll = time.Minute
	// endMargin is how much earlier than its timer said a minisocket may be
	// gone and still have timed out: timers are rounded to jiffies and wheels.
	endMargin = 1500 * time.Millisecond
	// ackMargin is the coarseness of the kernel's stamp of the last ACK.
	ackMargin = 20 * time.Millisecond
)

// Config is what is too long.
type Config struct {
	// Threshold is by kind; 0 turns a kind off. Where it depends on whose the
	// socket is, it is the shortest that may apply: see Decide.
	Threshold [finding.KindCount]time.Duration
	// Tick is how soon an event of a change may follow the change, and how late a
	// finding may be.
	Tick time.Duration
	// NewID makes a finding's id.
	NewID func(id flow.ID, kind finding.Kind, since time.Duration) string
	// Movers is where sockets are set aside whose data moves; nil: nowhere.
	Movers Movers
}

// Verdict is what there is to say about a socket.
type Verdict struct {
	Status    finding.Status
	ID        string
	Kind      finding.Kind
	Reason    finding.Reason
	Outcome   finding.Outcome
	Since     time.Duration // boot clock
	Exact     bool
	At        time.Duration // boot clock, when it was decided
	Due       time.Duration // boot clock, when an open was to be decided
	Threshold time.Duration
	// Sock has the values of At if Live, else identity and state only.
	Sock   flow.Sock
	Live   bool
	Opener flow.Task
	// Listener is whose accept queue is full, nil if that is not the reason.
	Listener *finding.Listener
	// Owner is what was found for the finding last; who writes an open or an
	// update fills it, and it is there again at the next.
	Owner *finding.Owner
	// Peer is the other end, if it is on this host; who writes an open or an
	// update sets it.
	Peer *finding.Peer
	// Stack is the code that opened the socket or read its end of file; who
	// writes an open or an update sets it.
	Stack *finding.Stack

	entry *entry
	// was is the reason that was written before, if this is an update.
	was finding.Reason
	// paced tells an update that was due, and last when the finding was spoken of
	// before, from one whose reason changed.
	paced bool
	last  time.Duration
}

// Detector holds the sockets that may be or are in limbo.
type Detector struct {
	cfg     Config
	entries map[uint64]*entry // by address
	queue   queue
	// patient are the ESTABLISHED sockets that are not flagged: on a host where data
	// waits tens of thousands, one due each millisecond and hardly any stuck. They
	// are looked at when something else is, or a tick later, which is how late a
	// finding may be.
	patient queue
	asides  asides
	free    []*entry
	flagged int
	// unseen counts the tracked sockets that moved on and no event said so.
	unseen uint64
	// connecting counts the entries in SYN_SENT.
	connecting int
	// halfClosed are the flagged full sockets in FIN_WAIT2, by cookie.
	halfClosed map[uint64]*entry

	due      []*entry
	probes   []flow.Sock
	probing  []*flow.Sock
	verdicts []Verdict
}

// New returns an empty Detector.
func New(cfg Config) *Detector {
	return &Detector{
		cfg:     cfg,
		asides:  asides{movers: cfg.Movers},
		entries: make(map[uint64]*entry),
		probes:  make([]flow.Sock, batch),

		halfClosed: make(map[uint64]*entry),
	}
}

// Unseen returns how many sockets have moved on with no event to tell, and may have
// left a minisocket, which a walk finds.
func (d *Detector) Unseen() uint64 { return d.unseen }

// Next returns when a look has to be taken, or more than one; false if there is
// nothing to look at.
func (d *Detector) Next() (at time.Duration, ok bool) {
	if len(d.queue) > 0 {
		at, ok = d.queue[0].deadline, true
	}
	if len(d.patient) > 0 {
		if late := d.patient[0].deadline + d.cfg.Tick; !ok || late < at {
			at, ok = late, true
		}
	}
	return at, ok
}

// verdictsKept is for how many verdicts room is kept.
const verdictsKept = 256

// Verdicts returns what was decided since the last call. The slice is valid
// until the next call of any method.
func (d *Detector) Verdicts() []Verdict {
	v := d.verdicts
	d.verdicts = v[:0]
	if cap(v) > verdictsKept {
		d.verdicts = nil // after a storm; a verdict is nearly a kilobyte
	}
	return v
}

// Decided returns how many verdicts wait to be taken.
func (d *Detector) Decided() int { return len(d.verdicts) }

// watched reports whether a socket in this state is, or leads to, a finding.
func (d *Detector) watched(state flow.State) bool {
	switch kind := finding.KindOf(state); {
	case kind == finding.KindNone, kind == finding.EstablishedStalled:
		return false
	case state == flow.StateFinWait1 && d.cfg.Threshold[finding.FinWait2Dangling] > 0:
		return true
	default:
		return d.cfg.Threshold[kind] > 0
	}
}

func (d *Detector) verdict(ent *entry, status finding.Status, now time.Duration) *Verdict {
	d.verdicts = append(d.verdicts, Verdict{
		Status:    status,
		ID:        ent.id,
		Kind:      ent.kind,
		Reason:    ent.reason,
		Since:     ent.since,
		Exact:     ent.exact,
		At:        now,
		Due:       now,
		Threshold: d.threshold(ent),
		Sock:      ent.sock,
		Live:      status != finding.Resolved,
		Opener:    ent.opener,
		Listener:  ent.listener,
		Owner:     &ent.owner,
		entry:     ent,
	})
	v := &d.verdicts[len(d.verdicts)-1]
	v.Sock.State = ent.state
	return v
}

// plan sets when the socket is looked at next.
func (d *Detector) plan(ent *entry, now time.Duration) {
	threshold := d.threshold(ent)
	switch {
	case threshold == 0:
		d.schedule(ent, now+idlePoll)
	case ent.flag != nil:
		d.schedule(ent, min(ent.nextUpdate, now+d.pollInterval(ent.kind)))
	default:
		d.schedule(ent, max(now, ent.since+threshold))
	}
}

func (d *Detector) pollInterval(kind finding.Kind) time.Duration {
	rate := pollRate
	if kind == finding.EstablishedStalled {
		rate = stallPollRate
	}
	return max(pollLeast, time.Duration(d.flagged)*time.Second/time.Duration(rate))
}
