package detect

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const tick = 250 * time.Millisecond

// testThreshold are the defaults of the contract.
var testThreshold = [finding.KindCount]time.Duration{
	finding.SynSentStalled:     3 * second,
	finding.FinWait2Dangling:   30 * second,
	finding.CloseWaitSilent:    30 * second,
	finding.EstablishedStalled: 15 * second,
	finding.ClosingStalled:     60 * second,
}

// born is when the sockets of these tests enter their state.
const born = 1000 * second

// lab is a Detector beside the sockets that it would read from a kernel.
type lab struct {
	t    *testing.T
	d    *Detector
	now  time.Duration
	live map[uint64]flow.Sock
	// reads counts how often sockets were read, glances how often they were glanced at.
	reads, glances int
	// aside are those that are set aside, by place; nil where none can be.
	aside map[uint32]flow.Mover
}

func newLab(t *testing.T, threshold [finding.KindCount]time.Duration) *lab {
	return &lab{
		t: t, now: born, live: map[uint64]flow.Sock{},
		d: New(Config{Threshold: threshold, Tick: tick, NewID: testID}),
	}
}

// newMoverLab is one that has room for movers.
func newMoverLab(t *testing.T, threshold [finding.KindCount]time.Duration) *lab {
	l := &lab{t: t, now: born, live: map[uint64]flow.Sock{}, aside: map[uint32]flow.Mover{}}
	l.d = New(Config{Threshold: threshold, Tick: tick, NewID: testID, Movers: l})
	return l
}

// eachLab runs a test where sockets can be set aside, and where they cannot.
func eachLab(t *testing.T, threshold [finding.KindCount]time.Duration, test func(t *testing.T, l *lab)) {
	t.Helper()
	t.Run("set aside", func(t *testing.T) { test(t, newMoverLab(t, threshold)) })
	t.Run("no room", func(t *testing.T) { test(t, newLab(t, threshold)) })
}

// placeOf: as in a table, what has the address has the place.
func placeOf(addr uint64) uint32 { return uint32(addr % 4096) }

func (l *lab) SetAside(m *flow.Mover) (uint32, bool) {
	l.aside[placeOf(m.Addr)] = *m
	return placeOf(m.Addr), true
}

func (l *lab) Aside(id flow.ID) (uint32, bool) {
	m, ok := l.aside[placeOf(id.Addr)]
	return placeOf(id.Addr), ok && m.Local == id.Local.Port() && m.Peer == id.Peer.Port()
}

func (l *lab) TakeBack(place uint32) { delete(l.aside, place) }

// glance is the part of tracer.Tracer.Glance, and of bpf/movers.h.
func (l *lab) glance() {
	for _, m := range l.d.Glances(l.now) {
		l.glances++
		is, ok := l.live[m.Addr]
		switch {
		case !ok || is.Hash != m.Hash || is.State != flow.StateEstablished:
			l.d.Glanced(flow.MoverGone, &flow.Sock{}, l.now)
		case pending(&is) && is.SndUna == m.SndUna && is.RcvNxt == m.RcvNxt,
			is.RcvNxt != is.CopiedSeq && is.CopiedSeq == m.CopiedSeq:
			l.d.Glanced(flow.MoverStopped, &flow.Sock{}, l.now)
		default:
			s := glanced(&is)
			l.d.Glanced(flow.MoverMoved, &s, l.now)
		}
	}
}

func testID(id flow.ID, kind finding.Kind, since time.Duration) string {
	return fmt.Sprintf("%d %v %v", id.Cookie, kind, since)
}

// identity is the connection of an address in a life: each has other ports.
func identity(addr, cookie uint64) flow.ID {
	return flow.ID{
		Key:   flow.Key{Addr: addr, Cookie: cookie},
		Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1024+cookie%60000)),
		Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), uint16(1+addr%60000)),
		NetNS: 4026531840,
	}
}

// socket is what a reading of a stuck socket shows: all is read, all is sent.
func socket(addr, cookie uint64, state flow.State) flow.Sock {
	return flow.Sock{
		ID: identity(addr, cookie), State: state, HasSocket: true, Hash: uint32(cookie) + 1, SendWindow: 65535,
		LastSend: time.Hour, LastAck: time.Hour, LastReceive: time.Hour, Waiting: -1, Expires: -1,
	}
}

// minisocket is what a closed FIN_WAIT2 socket leaves behind.
func minisocket(addr, cookie uint64, expires time.Duration) flow.Sock {
	return flow.Sock{
		ID: identity(addr, cookie), State: flow.StateFinWait2, TimeWait: true, Dead: true,
		Waiting: 0, Expires: expires,
	}
}

// put makes a reading of the socket's address show s from now on.
func (l *lab) put(s flow.Sock) { l.live[s.Addr] = s }

func (l *lab) drop(addr uint64) { delete(l.live, addr) }

// change alters what a reading of the address shows.
func (l *lab) change(addr uint64, f func(*flow.Sock)) {
	s := l.live[addr]
	f(&s)
	l.live[addr] = s
}

// promoted sends the event of a socket that has been in its state since then.
func (l *lab) promoted(s flow.Sock, since time.Duration, change ...func(*flow.Event)) {
	e := flow.Event{
		Kind: flow.EventPromoted, Time: l.now, Since: since, ID: flow.ID{Key: s.Key},
		New: s.State, TimeWait: s.TimeWait, Orphan: s.Dead,
	}
	for _, f := range change {
		f(&e)
	}
	l.d.Event(&e)
}

// moved changes the socket at the address and sends the event of it. A socket
// in CLOSE is not there any more.
func (l *lab) moved(addr uint64, state flow.State, change ...func(*flow.Event)) {
	s := l.live[addr]
	e := flow.Event{Kind: flow.EventTransition, Time: l.now, ID: s.ID, Old: s.State, New: state, Orphan: s.Dead}
	for _, f := range change {
		f(&e)
	}
	if s.State = state; state == flow.StateClose {
		delete(l.live, addr)
	} else {
		l.live[addr] = s
	}
	l.d.Event(&e)
}

func errno(n int32) func(*flow.Event) { return func(e *flow.Event) { e.Err = n } }

// found lets a walk come across the socket.
func (l *lab) found(addr uint64, since time.Duration) bool {
	s := l.live[addr]
	return l.d.Found(&s, flow.Task{}, since, l.now)
}

// read is the kernel's part between Due and Judge (tracer.Tracer.Read).
func (l *lab) read(socks []*flow.Sock) {
	l.reads += len(socks)
	for _, s := range socks {
		is, ok := l.live[s.Addr]
		if !ok || (s.Cookie != 0 && is.Cookie != s.Cookie) ||
			(s.Cookie == 0 && s.Peer.IsValid() && is.Peer != s.Peer) ||
			(s.Cookie == 0 && !s.Peer.IsValid() && s.Hash != 0 && is.Hash != s.Hash) {
			*s = flow.Sock{ID: s.ID, Gone: true}
			continue
		}
		*s = is
	}
}

// glanced is what Glance promises of a socket that moved.
func glanced(is *flow.Sock) flow.Sock {
	s := flow.Sock{SndUna: is.SndUna, SndNxt: is.SndNxt, WriteSeq: is.WriteSeq, RcvNxt: is.RcvNxt, CopiedSeq: is.CopiedSeq}
	if pending(is) {
		s.Pending, s.RTO, s.Limits.Probing = is.Pending, is.RTO, is.Limits.Probing
		s.LastReceive, s.LastAck, s.LastSend, s.Busy = is.LastReceive, is.LastAck, is.LastSend, is.Busy
	}
	return s
}

// look judges what is due, as the agent does at each wake-up.
func (l *lab) look() {
	l.glance()
	for range 100 {
		due := l.d.Due(l.now)
		if len(due) == 0 {
			return
		}
		l.read(due)
		l.d.Judge(l.now)
	}
	l.t.Fatal("sockets stay due however often they are judged")
}

func (l *lab) verdicts() []Verdict { return slices.Clone(l.d.Verdicts()) }

// at looks at the given time and compares what is said: "open eof_ignored",
// "update eof_unread", "resolved closed".
func (l *lab) at(now time.Duration, want ...string) []Verdict {
	l.t.Helper()
	l.now = now
	l.look()
	verdicts := l.verdicts()
	var got []string
	for i := range verdicts {
		got = append(got, words(&verdicts[i]))
	}
	if !slices.Equal(got, want) {
		l.t.Fatalf("at %v: said %q, want %q", now-born, got, want)
	}
	checkDetector(l.t, l.d)
	return verdicts
}

// watched compares how many sockets are watched, and how many of them flagged.
func (l *lab) watched(sockets, flagged int) {
	l.t.Helper()
	if s, f := l.d.size(); s != sockets || f != flagged {
		l.t.Fatalf("%d watched and %d flagged, want %d and %d", s, f, sockets, flagged)
	}
}

func words(v *Verdict) string {
	if v.Status == finding.Resolved {
		return fmt.Sprintf("%v %v", v.Status, v.Outcome)
	}
	return fmt.Sprintf("%v %v", v.Status, v.Reason)
}

// checkDetector compares the parts of a Detector with each other.
func checkDetector(t testing.TB, d *Detector) {
	t.Helper()
	if len(d.queue)+len(d.patient) != len(d.entries) {
		t.Fatalf("%d and %d sockets queued, %d known", len(d.queue), len(d.patient), len(d.entries))
	}
	flagged, connecting := 0, 0
	used := map[*entry]bool{}
	for _, q := range []*queue{&d.queue, &d.patient} {
		for i, place := range *q {
			e := place.entry
			used[e] = true
			if e.in != q || e.index != i {
				t.Fatalf("entry %d believes it is at %d, or in another queue", i, e.index)
			}
			if i > 0 && (*q)[(i-1)/2].deadline > place.deadline {
				t.Fatalf("entry %d is due before the one above it", i)
			}
			if d.entries[e.sock.Addr] != e {
				t.Fatalf("the entry of %#x is not found by its address", e.sock.Addr)
			}
			if e.flag != nil {
				flagged++
			}
			if e.kind == finding.SynSentStalled {
				connecting++
			}
			if q == &d.patient && (e.flag != nil || e.kind != finding.EstablishedStalled) {
				t.Fatalf("a %v, flagged %v, is in no hurry", e.kind, e.flag != nil)
			}
		}
	}
	for _, e := range d.free {
		if used[e] {
			t.Fatal("an entry in use is free, or one is free twice")
		}
		used[e] = true
	}
	if watched, f := d.size(); watched != len(d.entries) || f != flagged {
		t.Fatalf("size = %d, %d, want %d, %d", watched, f, len(d.entries), flagged)
	}
	if d.Connecting() != connecting {
		t.Fatalf("Connecting = %d, want %d", d.Connecting(), connecting)
	}
	checkNext(t, d)
	checkAsides(t, d)
}

// all are the turns of a tick.
func (p *page) all() iter.Seq[*turn] {
	return func(yield func(*turn) bool) {
		for ; p != nil; p = p.next {
			for i := range p.count {
				if !yield(&p.turns[i]) {
					return
				}
			}
		}
	}
}

// checkAsides: whoever is set aside has one turn, and is no entry.
func checkAsides(t testing.TB, d *Detector) {
	t.Helper()
	turns := map[uint32]int{}
	for i, slot := range d.asides.wheel {
		for turn := range slot.all() {
			if d.asides.lives[turn.place] != turn.life {
				continue
			}
			turns[turn.place]++
			if turn.due <= d.asides.at || turn.due%wheelTicks != uint64(i) {
				t.Fatalf("place %d is due in tick %d, in slot %d at tick %d", turn.place, turn.due, i, d.asides.at)
			}
			if e := d.entries[turn.mover.Addr]; e != nil && e.sock.Hash == turn.mover.Hash {
				t.Fatalf("%#x is an entry and set aside", turn.mover.Addr)
			}
		}
	}
	for place, life := range d.asides.lives {
		if turns[uint32(place)] != int(life%2) {
			t.Fatalf("place %d, life %d, has %d turns", place, life, turns[uint32(place)])
		}
	}
	if len(turns) != d.asides.count {
		t.Fatalf("%d are set aside, and %d counted", len(turns), d.asides.count)
	}
}

func checkNext(t testing.TB, d *Detector) {
	t.Helper()
	next, ok := d.Next()
	if ok != (len(d.entries) > 0) {
		t.Fatalf("Next says %v of %d sockets", ok, len(d.entries))
	}
	for _, e := range d.queue {
		if e.deadline < next {
			t.Fatalf("Next = %v, but a socket is due at %v", next, e.deadline)
		}
	}
	for _, e := range d.patient {
		if e.deadline+tick < next {
			t.Fatalf("Next = %v, but a suspect is due at %v", next, e.deadline)
		}
	}
}

// size returns how many sockets are watched and how many of them are flagged.
func (d *Detector) size() (watched, flagged int) { return len(d.entries), d.flagged }
