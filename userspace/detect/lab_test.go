package detect

import (
	"fmt"
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
	// reads counts how often sockets were read, glances those of them that only
	// told of a move. With whole, none is a glance.
	reads, glances int
	whole          bool
}

func newLab(t *testing.T, threshold [finding.KindCount]time.Duration) *lab {
	return &lab{
		t: t, now: born, live: map[uint64]flow.Sock{},
		d: New(Config{Threshold: threshold, Tick: tick, NewID: testID}),
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
		ID: identity(addr, cookie), State: state, HasSocket: true, SendWindow: 65535,
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
			(s.Cookie == 0 && s.Peer.IsValid() && is.Peer != s.Peer) {
			*s = flow.Sock{ID: s.ID, Gone: true}
			continue
		}
		if s.Seen && !l.whole && moved(s, &is) {
			l.glances++
			*s = glanced(s.ID, &is)
			continue
		}
		*s = is
	}
}

// moved is glance() of bpf/reading.h.
func moved(seen, is *flow.Sock) bool {
	switch {
	case is.Cookie == 0, is.State != flow.StateEstablished, !is.HasSocket, is.Pending == timeProbe0:
		return false
	case pending(is) && is.SndUna == seen.SndUna && is.RcvNxt == seen.RcvNxt:
		return false
	}
	return is.RcvNxt == is.CopiedSeq || is.CopiedSeq != seen.CopiedSeq
}

// glanced is what flow.Sock.Moved promises.
func glanced(id flow.ID, is *flow.Sock) flow.Sock {
	return flow.Sock{
		ID: id, Seen: true, Moved: true, State: is.State, HasSocket: is.HasSocket,
		SndUna: is.SndUna, WriteSeq: is.WriteSeq, RcvNxt: is.RcvNxt, CopiedSeq: is.CopiedSeq,
		LastAck: is.LastAck, LastReceive: is.LastReceive, Busy: is.Busy, Expires: -1,
	}
}

// look judges what is due, as the agent does at each wake-up.
func (l *lab) look() {
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
