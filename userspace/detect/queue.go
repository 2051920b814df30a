package detect

import (
	"container/heap"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// entry is one socket that is watched.
type entry struct {
	sock  flow.Sock // ID, and the values of the last reading
	kind  finding.Kind
	state flow.State
	since time.Duration
	exact bool
	// seen is when a walk found it, 0 if an event told of it.
	seen time.Duration
	// opener connected or closed it, as captured in the kernel.
	opener flow.Task
	// tracked: the kernel side sends its events.
	tracked bool
	// missed: the last reading found it gone or elsewhere; the event that says
	// how may still be on its way.
	missed bool
	// undropped: the last reading found that the last SYN was not dropped, as the
	// one before it was.
	undropped bool

	// due is when it was to be looked at again, because at its threshold it did
	// not hold its condition yet; 0 if it did.
	due time.Duration
	// own is what was decided to be too long for it; 0: it is left alone.
	own     time.Duration
	decided bool
	// mark is meant in ESTABLISHED.
	mark mark

	// in is the queue that it is in, at index; that has the deadline.
	in    *queue
	index int

	*flag
}

// flag is the open finding of an entry, nil if there is none.
type flag struct {
	id         string
	reason     finding.Reason
	opened     time.Duration
	threshold  time.Duration
	nextUpdate time.Duration
	interval   time.Duration
	owner      finding.Owner
	// listener is whose full queue keeps a connect waiting, as far as is known.
	listener *finding.Listener
	// ends is when the kernel will drop a minisocket, 0 if it was not read yet.
	ends time.Duration
	// patience is how long a socket that was still sending must have sent
	// nothing before that is over; 0 if it never was.
	patience time.Duration
	// cookie is under which it is in halfClosed, 0 if it is not.
	cookie uint64
}

// queued is an entry's place in the queue. The deadline stands here and nowhere
// else: to order tens of thousands takes no look at the entries.
type queued struct {
	deadline time.Duration
	entry    *entry
}

// queue orders entries by deadline (container/heap).
type queue []queued

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].deadline < q[j].deadline }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].entry.index, q[j].entry.index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e, _ := x.(*entry)
	e.index = len(*q)
	*q = append(*q, queued{entry: e})
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1].entry
	old[len(old)-1] = queued{}
	*q = old[:len(old)-1]
	e.index = -1
	return e
}

// schedule plans the next look at a socket.
func (d *Detector) schedule(e *entry, at time.Duration) {
	to := &d.queue
	if e.flag == nil && e.kind == finding.EstablishedStalled {
		to = &d.patient
	}
	if e.in != to {
		e.leave()
		e.enter(to)
	}
	(*to)[e.index].deadline = at
	heap.Fix(to, e.index)
}

func (ent *entry) enter(q *queue) {
	ent.in = q
	heap.Push(q, ent)
}

func (ent *entry) leave() {
	heap.Remove(ent.in, ent.index)
	ent.in = nil
}

// place is where the deadline stands. Who moves it restores the order.
func (ent *entry) place() *queued { return &(*ent.in)[ent.index] }

// add makes an entry; entries are reused, so that a host where many sockets
// outlive a tick and few a threshold does not feed the garbage collector.
func (d *Detector) add(id flow.ID, state flow.State, since time.Duration, exact bool) *entry {
	var e *entry
	if n := len(d.free); n > 0 {
		e, d.free = d.free[n-1], d.free[:n-1]
	} else {
		e = new(entry)
	}
	*e = entry{state: state, kind: finding.KindOf(state), since: since, exact: exact, tracked: true}
	e.sock.ID, e.sock.State = id, state
	d.entries[id.Addr] = e
	d.count(e, 1)
	e.enter(&d.queue)
	return e
}

func (d *Detector) remove(e *entry) {
	delete(d.entries, e.sock.Addr)
	d.count(e, -1)
	e.leave()
	d.unflag(e)
	if len(d.free) < freeMax {
		d.free = append(d.free, e)
	}
}

// unflag takes the finding from an entry, if it has one.
func (d *Detector) unflag(e *entry) {
	if e.flag == nil {
		return
	}
	if d.halfClosed[e.flag.cookie] == e {
		delete(d.halfClosed, e.flag.cookie)
	}
	d.flagged--
	e.flag = nil
}

// rebuild restores the order after many deadlines were changed at once.
func (q *queue) rebuild() { heap.Init(q) }
