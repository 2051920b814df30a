package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Nearly all ESTABLISHED sockets where something waits move it, and go on doing so:
// until one stops there is nothing to decide. They are set aside, with a moment for
// the next glance, and are no entries.

// Movers is where sockets are set aside; see tracer.Tracer.
type Movers interface {
	// SetAside has walks leave out a socket that was read; false if that cannot be.
	SetAside(m *flow.Mover) (place uint32, ok bool)
	// Aside returns the place of a socket that is set aside.
	Aside(id flow.ID) (place uint32, ok bool)
	// TakeBack gives a place up.
	TakeBack(place uint32)
}

const (
	// lookParts: a place is looked at as often as makes what leaves no stamp of its end late
	// by so small a part of the threshold, as long as glances, of which each takes
	// glanceCost, take no more than one part of glanceShare of a core.
	lookParts   = 8
	glanceCost  = 600 * time.Nanosecond
	glanceShare = 2000
)

// wheelTicks: what is due later than in so many ticks comes by more than once.
const wheelTicks = 64

// asides are the sockets that are set aside, by when the next glance at them is due.
// All that is known of one stands in its turn, and these are gone through in their
// order: it is getting at memory that costs.
type asides struct {
	movers Movers
	wheel  [wheelTicks]*page
	at     uint64 // the tick up to which it was gone through
	// lives tell a place's present turn from older ones: odd while somebody has it.
	lives []uint16
	count int

	// due are the turns of the last Glances, seen the same for its caller; answers have
	// come of those before took of takenOf.
	due     *page
	seen    []flow.Mover
	takenOf *page
	took    int
	free    *page
}

// page is a part of the turns of a tick. All have the same size and serve again, so that
// thousands that come at once leave nothing behind in the tick where they came.
type page struct {
	turns [pageTurns]turn
	count int
	next  *page
}

const pageTurns = 63 // 4 KiB

// turn is a socket and when it is looked at next.
type turn struct {
	due uint64 // tick
	// write and read are those of mark.
	write, read time.Duration
	mover       flow.Mover
	place       uint32
	life        uint16
}

func (d *Detector) tickOf(at time.Duration) uint64 { return uint64(at / d.cfg.Tick) }

// lookBy returns when to look at a place, given when what waits there may be over.
func (d *Detector) lookBy(next, now time.Duration) uint64 {
	threshold := d.cfg.Threshold[finding.EstablishedStalled]
	pace := max(threshold/lookParts, time.Duration(d.asides.count)*glanceCost*glanceShare)
	return d.tickOf(min(next, now+pace))
}

// setAside leaves a socket that is not flagged to glances until next; false if it must
// stay an entry: it has no place, it is looked at too soon, what waits is over and may be a
// finding any time, or it is not judged by the threshold that all have.
func (d *Detector) setAside(ent *entry, next, now time.Duration) bool {
	a := &d.asides
	if a.movers == nil || ent.decided || ent.mark.accept != nothing || next < now+2*d.cfg.Tick ||
		ent.mark.long(now, d.threshold(ent)) {
		return false
	}
	s := &ent.sock
	t := turn{write: ent.mark.write, read: ent.mark.read, mover: flow.Mover{
		Addr: s.Addr, Hash: s.Hash, Local: s.Local.Port(), Peer: s.Peer.Port(),
		SndUna: s.SndUna, RcvNxt: s.RcvNxt, CopiedSeq: s.CopiedSeq,
	}}
	var ok bool
	if t.place, ok = a.movers.SetAside(&t.mover); !ok {
		return false
	}
	t.life = a.begin(t.place)
	a.put(&t, d.lookBy(next, now))
	return true
}

// begin gives a place to a socket, and takes it from the one that had the address before.
func (a *asides) begin(place uint32) (life uint16) {
	if n := int(place) + 1 - len(a.lives); n > 0 {
		a.lives = append(a.lives, make([]uint16, n)...)
	}
	if a.taken(place) {
		a.lives[place] += 2
	} else {
		a.lives[place]++
		a.count++
	}
	return a.lives[place]
}

func (a *asides) taken(place uint32) bool { return a.lives[place]%2 == 1 }

// giveUp frees a place.
func (a *asides) giveUp(place uint32) {
	if int(place) < len(a.lives) && a.taken(place) {
		a.lives[place]++
		a.count--
	}
	a.movers.TakeBack(place)
}

// has reports whether a socket is set aside.
func (a *asides) has(id flow.ID) bool {
	if a.count == 0 {
		return false
	}
	_, ok := a.movers.Aside(id)
	return ok
}

// put plans a glance. What is due between two ticks is looked at before, for it may
// have stopped.
func (a *asides) put(t *turn, due uint64) {
	t.due = max(due, a.at+1)
	a.add(&a.wheel[t.due%wheelTicks], t)
}

func (a *asides) add(to **page, t *turn) {
	p := *to
	if p == nil || p.count == pageTurns {
		if p = a.free; p != nil {
			a.free = p.next
		} else {
			p = new(page)
		}
		p.count, p.next = 0, *to
		*to = p
	}
	p.turns[p.count] = *t
	p.count++
}

// empty lets pages serve again.
func (a *asides) empty(of **page) {
	for p := *of; p != nil; p = *of {
		*of = p.next
		p.next, a.free = a.free, p
	}
}

// Glances returns the sockets to look at now; the caller tells of each by Glanced, in
// their order. They are valid until the next call.
func (d *Detector) Glances(now time.Duration) []flow.Mover {
	a, to := &d.asides, d.tickOf(now)
	a.empty(&a.due)
	a.seen = a.seen[:0]
	if a.count > 0 {
		for tick := a.at + 1; tick <= to && tick <= a.at+wheelTicks; tick++ {
			a.turnUp(&a.wheel[tick%wheelTicks], to)
		}
	}
	a.at = max(a.at, to)
	for p := a.due; p != nil; p = p.next {
		for i := range p.count {
			a.seen = append(a.seen, p.turns[i].mover)
		}
	}
	a.took, a.takenOf = 0, a.due
	return a.seen
}

func (a *asides) turnUp(slot **page, to uint64) {
	old := *slot
	*slot = nil
	for p := old; p != nil; p = p.next {
		for i := range p.count {
			switch t := &p.turns[i]; {
			case a.lives[t.place] != t.life: // given up
			case t.due > to:
				a.add(slot, t)
			default:
				a.add(&a.due, t)
			}
		}
	}
	a.empty(&old)
}

// wake makes all due in the tick after this one.
func (a *asides) wake(at uint64) {
	var all *page
	a.at = at
	for i := range a.wheel {
		for p := a.wheel[i]; p != nil; p = p.next {
			for j := range p.count {
				t := &p.turns[j]
				t.due = at + 1
				a.add(&all, t)
			}
		}
		a.empty(&a.wheel[i])
	}
	a.wheel[(at+1)%wheelTicks] = all
}

// answered returns the turn that the next answer to Glances is about.
func (a *asides) answered() *turn {
	if a.took == a.takenOf.count {
		a.took, a.takenOf = 0, a.takenOf.next
	}
	a.took++
	return &a.takenOf.turns[a.took-1]
}

// Glanced takes what a glance at the next of Glances came to. Of a socket that moved, s has
// what tells since when what waits now has been waiting; see tracer.Tracer.Glance.
func (d *Detector) Glanced(is flow.MoverIs, s *flow.Sock, now time.Duration) {
	a := &d.asides
	t := a.answered()
	switch is {
	case flow.MoverGone:
		a.giveUp(t.place)
		return
	case flow.MoverStopped:
		d.stopped(t, now)
		return
	case flow.MoverMoved:
	}
	threshold := d.cfg.Threshold[finding.EstablishedStalled]
	m := moved(s, now)
	t.write, t.read = m.write, m.read
	t.mover.SndUna, t.mover.RcvNxt, t.mover.CopiedSeq = s.SndUna, s.RcvNxt, s.CopiedSeq
	next, waits := m.next(now, threshold)
	switch {
	case !waits:
		a.giveUp(t.place)
	case m.long(now, threshold):
		d.comeBack(t, now)
	default:
		a.put(t, d.lookBy(next, now))
	}
}

// stopped leaves a socket whose data did not move since the last look where it is until
// that may be over: then it is read whole.
func (d *Detector) stopped(t *turn, now time.Duration) {
	m := mark{write: t.write, read: t.read, accept: nothing}
	threshold := d.cfg.Threshold[finding.EstablishedStalled]
	next, _ := m.next(now, threshold)
	if m.long(now, threshold) || next < now+2*d.cfg.Tick {
		d.comeBack(t, now)
		return
	}
	d.asides.put(t, d.lookBy(next, now))
}

// moved is the mark of a socket all of whose data has moved.
func moved(s *flow.Sock, now time.Duration) mark {
	return mark{
		write:  lasting(nothing, pending(s), false, now, silence(s)),
		read:   lasting(nothing, Waiting(s), false, now, 0),
		accept: nothing,
	}
}

// comeBack makes an entry of a socket that was set aside, to be read whole. Where there
// are too many, it waits.
func (d *Detector) comeBack(t *turn, now time.Duration) {
	if d.crowded() {
		d.asides.put(t, 0)
		return
	}
	d.asides.giveUp(t.place)
	is := &t.mover
	if d.entries[is.Addr] != nil {
		return // the address serves another socket, which has left ESTABLISHED
	}
	ent := d.candidate(flow.ID{Key: flow.Key{Addr: is.Addr}})
	ent.mark = mark{write: t.write, read: t.read, accept: nothing}
	ent.sock.Hash = is.Hash
	ent.sock.SndUna, ent.sock.RcvNxt, ent.sock.CopiedSeq = is.SndUna, is.RcvNxt, is.CopiedSeq
	d.schedule(ent, now)
}
