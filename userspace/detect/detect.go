// Package detect decides which sockets are in limbo. It is pure: time is an
// argument, kernel values are arguments, and what it decides are values; the
// same calls give the same verdicts.
//
// Events say that something may have happened, readings say what is. A verdict
// is only given on a reading of the same moment.
package detect

import (
	"cmp"
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
	// Tick is how soon an event of a change may follow the change.
	Tick time.Duration
	// NewID makes a finding's id.
	NewID func(id flow.ID, kind finding.Kind, since time.Duration) string
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
	Due       time.Duration // boot clock, when it was to be decided
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
		entries: make(map[uint64]*entry),
		probes:  make([]flow.Sock, batch),

		halfClosed: make(map[uint64]*entry),
	}
}

// Unseen returns how many tracked sockets have moved on with no event to tell. What
// took the place of one, a minisocket, is found by a walk.
func (d *Detector) Unseen() uint64 { return d.unseen }

// Len returns how many sockets are watched and how many of them are flagged.
func (d *Detector) Len() (watched, flagged int) { return len(d.entries), d.flagged }

// Next returns when the next socket is due; false if none is.
func (d *Detector) Next() (time.Duration, bool) {
	if len(d.queue) == 0 {
		return 0, false
	}
	return d.queue[0].deadline, true
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

// Event takes a kernel record into account.
func (d *Detector) Event(e *flow.Event) {
	ent := d.entries[e.Addr]
	if ent != nil && !sameLife(ent.sock.ID, e.ID) {
		if e.Time < ent.seen {
			return // about the socket that had the address before
		}
		// The address serves another socket; the end of the first was lost.
		d.end(ent, goneOutcome(ent, e.Time), e.Time)
		ent = nil
	}
	switch e.Kind {
	case flow.EventPromoted:
		d.promoted(ent, e)
	case flow.EventTransition:
		d.transition(ent, e)
	case flow.EventRetransmit:
		d.retransmits(ent, e)
	case flow.EventNone, flow.EventKindCount:
	}
}

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

func (d *Detector) promoted(ent *entry, e *flow.Event) {
	if !d.watched(e.New) {
		return
	}
	switch {
	case ent == nil:
		ent = d.add(e.ID, e.New, e.Since, true)
		ent.sock.TimeWait, ent.sock.Dead = e.TimeWait, e.Orphan
		if e.Since == 0 {
			ent.since, ent.exact = e.Time, false
		}
	case ent.kind == finding.KindOf(e.New):
	case e.Since <= ent.since:
		// Another CPU's transition overtook it: the next state is known already.
		return
	default:
		d.move(ent, e.New, e.Since, finding.OutcomeUnknown, e.Time)
	}
	ent.tracked = !e.Untracked
	if e.Task.Known() {
		ent.opener = e.Task
	}
	if ent.flag == nil && e.New == ent.state && e.Since > 0 && (!ent.exact || e.Since > ent.since) {
		// A slot knows the beginning better than a walk, and a second slot
		// better than the first.
		ent.since, ent.exact = e.Since, true
	}
	if ent.sock.Cookie == 0 && !ent.sock.Peer.IsValid() {
		// Nothing but the address: read it before it serves another socket.
		d.schedule(ent, e.Time)
		return
	}
	d.plan(ent, e.Time)
}

func (d *Detector) transition(ent *entry, e *flow.Event) {
	if ent == nil {
		if !d.watched(e.New) {
			return
		}
		ent = d.add(e.ID, e.New, e.Time, true)
	}
	known := ent.sock.ID
	ent.sock.ID, ent.sock.Dead = e.ID, e.Orphan
	// What events do not carry, or not on every kernel.
	ent.sock.CgroupID, ent.sock.Cookie = known.CgroupID, cmp.Or(e.Cookie, known.Cookie)
	ent.missed = false
	if e.Task.Known() {
		ent.opener = e.Task
	}
	switch {
	case e.Successor != 0:
		d.succeed(ent, e.Successor, e.Time)
	case finding.KindOf(e.New) == ent.kind:
		ent.state, ent.sock.State = e.New, e.New
		d.plan(ent, e.Time)
	default:
		d.move(ent, e.New, e.Time, EventOutcome(e), e.Time)
	}
}

// succeed goes on with the minisocket that a closed FIN_WAIT2 socket leaves
// behind: for the peer nothing has changed, only the reason is another one.
func (d *Detector) succeed(ent *entry, addr uint64, now time.Duration) {
	if other := d.entries[addr]; other != nil && other != ent {
		if other.flag != nil && ent.sock.Cookie != 0 && other.sock.Cookie == ent.sock.Cookie {
			// A walk was faster than the event, and its finding is said already.
			d.end(ent, finding.OutcomeUnknown, now)
			return
		}
		d.end(other, finding.OutcomeUnknown, now)
	}
	delete(d.entries, ent.sock.Addr)
	ent.sock.Addr = addr
	ent.sock.TimeWait, ent.sock.Dead = true, true
	d.entries[addr] = ent
	d.plan(ent, now)
	if ent.flag != nil {
		d.schedule(ent, now)
	}
}

// move takes a socket from one kind to another or out of all of them.
func (d *Detector) move(ent *entry, state flow.State, since time.Duration, outcome finding.Outcome, now time.Duration) {
	if !d.watched(state) {
		d.end(ent, outcome, now)
		return
	}
	d.resolve(ent, outcome, now)
	d.count(ent, -1)
	ent.kind, ent.state, ent.sock.State = finding.KindOf(state), state, state
	ent.since, ent.exact, ent.due, ent.decided = since, true, 0, false
	d.count(ent, 1)
	d.plan(ent, now)
}

// end resolves what is open and forgets the socket.
func (d *Detector) end(ent *entry, outcome finding.Outcome, now time.Duration) {
	d.resolve(ent, outcome, now)
	d.remove(ent)
}

func (d *Detector) resolve(ent *entry, outcome finding.Outcome, now time.Duration) {
	if ent.flag == nil {
		return
	}
	v := d.verdict(ent, finding.Resolved, now)
	v.Outcome = outcome
	v.Due = now
	d.unflag(ent)
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
		Due:       ent.deadline,
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
