package detect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// stuck returns a lab with one socket in CLOSE_WAIT that is flagged already.
func stuck(t *testing.T) (*lab, flow.Sock, Verdict) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	return l, s, l.at(born+30*second, "open eof_ignored")[0]
}

// A reading that finds a socket elsewhere is faster than the event that says
// how it ended: that is waited for, once.
func TestReadingBeforeItsEvent(t *testing.T) {
	l, s, _ := stuck(t)
	l.drop(s.Addr)
	l.at(born + 31*second)
	l.watched(1, 1)
	l.put(s)
	l.moved(s.Addr, flow.StateClose, errno(int32(unix.EPIPE)))
	l.at(born+31*second+tick, "resolved reset")
	l.watched(0, 0)
}

func TestEventThatNeverComes(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*lab, uint64)
		want    string
		watched int
	}{
		{"gone", (*lab).drop, "resolved unknown", 0},
		{"another socket has its memory", func(l *lab, addr uint64) {
			l.put(socket(addr, 8, flow.StateCloseWait))
		}, "resolved unknown", 0},
		{"closed by its program", func(l *lab, addr uint64) {
			l.change(addr, func(s *flow.Sock) { s.State = flow.StateLastAck })
		}, "resolved closed", 1},
		{"reset", func(l *lab, addr uint64) {
			l.change(addr, func(s *flow.Sock) { s.State, s.Err = flow.StateClose, int32(unix.EPIPE) })
		}, "resolved reset", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, s, open := stuck(t)
			tt.change(l, s.Addr)
			l.at(born + 31*second)
			l.at(born + 31*second + 2*tick - 1)
			v := l.at(born+31*second+2*tick, tt.want)[0]
			if v.ID != open.ID || v.Sock.State != flow.StateCloseWait || v.Sock.Peer != s.Peer {
				t.Errorf("resolved %q in %v to %v", v.ID, v.Sock.State, v.Sock.Peer)
			}
			l.watched(tt.watched, 0)
		})
	}
}

// Where the old generation is full no event tells what became of a socket. One in FIN_WAIT1
// or FIN_WAIT2 may have left a minisocket, for which a walk has to look.
func TestUntrackedMayLeaveAMinisocket(t *testing.T) {
	for state, want := range map[flow.State]uint64{
		flow.StateFinWait1: 1, flow.StateFinWait2: 1, flow.StateCloseWait: 0, flow.StateSynSent: 0,
	} {
		for _, freed := range []bool{false, true} {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, state)
			l.promoted(s, born, func(e *flow.Event) { e.Untracked = true })
			if freed { // and not used again
				s.State = flow.StateClose
				l.put(s)
			}
			l.at(born + 61*second)
			l.watched(0, 0)
			if n := l.d.Unseen(); n != want {
				t.Errorf("%v gone, its memory there %v: %d unseen, want %d", state, freed, n, want)
			}
		}
	}
}

// A missed event is forgiven once; the patience is there again for the next.
func TestPatienceComesBack(t *testing.T) {
	l, s, _ := stuck(t)
	l.drop(s.Addr)
	l.at(born + 31*second)
	l.put(s) // a reading that was wrong
	l.at(born + 32*second)
	l.drop(s.Addr)
	l.at(born + 33*second)
	l.watched(1, 1)
	l.at(born+33*second+2*tick, "resolved unknown")
}

// Nobody sends the events of a socket that found the old generation full.
func TestUntracked(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born, func(e *flow.Event) { e.Untracked = true })
	l.at(born+30*second, "open eof_ignored")
	l.drop(s.Addr)
	l.at(born+31*second, "resolved unknown")
	l.watched(0, 0)
}

// A reading can also say that events stop.
func TestBecomesUntracked(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.Untracked = true
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	l.drop(s.Addr)
	l.at(born+31*second, "resolved unknown")
}

// When a reading finds a socket in its next state, the moment it went there is
// only known to be past.
func TestNextStateByReadingIsABound(t *testing.T) {
	l, s, _ := stuck(t)
	l.d.entries[s.Addr].tracked = false
	l.change(s.Addr, func(s *flow.Sock) { s.State = flow.StateLastAck })
	l.at(born+31*second, "resolved closed")
	if v := l.at(born+91*second, "open peer_silent")[0]; v.Exact || v.Since != born+31*second {
		t.Errorf("since %v, exact %v; want a bound of 31s", v.Since-born, v.Exact)
	}
}

// An address is given to another socket, and the end of the first was not seen.
func TestRecycledAddress(t *testing.T) {
	enter := map[string]func(*lab, flow.Sock){
		"promoted": func(l *lab, s flow.Sock) { l.promoted(s, l.now) },
		"found":    func(l *lab, s flow.Sock) { l.found(s.Addr, l.now) },
		"moved": func(l *lab, s flow.Sock) {
			l.change(s.Addr, func(s *flow.Sock) { s.State = flow.StateEstablished })
			l.moved(s.Addr, s.State)
		},
	}
	for name, enter := range enter {
		t.Run(name, func(t *testing.T) {
			l, _, first := stuck(t)
			next := socket(0x100, 8, flow.StateCloseWait)
			l.now = born + 30*second + tick
			l.put(next)
			enter(l, next)
			v := l.at(l.now, "resolved unknown")[0]
			if v.ID != first.ID || v.Sock.Cookie != 7 {
				t.Errorf("resolved %q of cookie %d", v.ID, v.Sock.Cookie)
			}
			l.watched(1, 0)
			l.at(born + 60*second + tick - 1)
			if v := l.at(born+60*second+tick, "open eof_ignored")[0]; v.ID == first.ID || v.Sock.Cookie != 8 {
				t.Errorf("opened %q of cookie %d", v.ID, v.Sock.Cookie)
			}
		})
	}
}

func TestRecycledBeforeItWasFlagged(t *testing.T) {
	l := newLab(t, testThreshold)
	first, next := socket(0x100, 7, flow.StateCloseWait), socket(0x100, 8, flow.StateSynSent)
	l.put(first)
	l.promoted(first, born)
	l.now = born + 29*second
	l.put(next)
	l.promoted(next, l.now)
	l.at(born + 30*second)
	l.at(born+32*second, "open no_reply")
	l.watched(1, 1)
}

// Retransmissions are no news, but the address may be another's.
func TestRetransmission(t *testing.T) {
	l, s, _ := stuck(t)
	e := flow.Event{Kind: flow.EventRetransmit, Time: l.now, ID: s.ID, Old: s.State, New: s.State}
	l.d.Event(&e)
	l.at(l.now)
	l.watched(1, 1)
	e.Cookie = 8
	l.d.Event(&e)
	l.at(l.now, "resolved unknown")
	l.watched(0, 0)
}

// A walk can find the next socket at an address before the last event of the
// one before is read.
func TestEventOfAnOlderLife(t *testing.T) {
	l := newLab(t, testThreshold)
	old := socket(0x100, 7, flow.StateLastAck)
	late := flow.Event{Kind: flow.EventTransition, Time: l.now, ID: old.ID, Old: old.State, New: flow.StateClose}
	l.now += 10 * time.Millisecond
	l.put(socket(0x100, 8, flow.StateCloseWait))
	l.found(0x100, 0)
	l.d.Event(&late)
	l.watched(1, 0)
	late.Time = l.now + 1
	l.d.Event(&late)
	l.watched(0, 0)
}

func TestSuspect(t *testing.T) {
	l := newLab(t, testThreshold)
	for i := range uint64(100) {
		s := socket(0x100+i, 1+i, flow.StateCloseWait)
		l.put(s)
		l.promoted(s, born+time.Duration(i)*second)
	}
	l.now = born + 80*second - 1
	l.look()
	flagged := len(l.verdicts())
	if flagged != 50 {
		t.Fatalf("%d flagged, want 50", flagged)
	}
	for i := range uint64(100) {
		l.drop(0x100 + i)
	}
	l.reads = 0
	l.d.Suspect(l.now)
	checkDetector(t, l.d)
	l.at(l.now)
	if l.reads != flagged {
		t.Errorf("%d readings, want one of each open finding", l.reads)
	}
	l.now += 2 * tick
	l.look()
	for _, v := range l.verdicts() {
		if words(&v) == "resolved unknown" {
			flagged--
		}
	}
	if flagged != 0 {
		t.Errorf("%d findings were not resolved", flagged)
	}
	l.at(born + 200*second)
	l.at(born + 201*second)
	l.watched(0, 0)
}

// A missed event is forgiven once in each state.
func TestPatienceInTheNextState(t *testing.T) {
	l, s, _ := stuck(t)
	l.change(s.Addr, func(s *flow.Sock) { s.State = flow.StateLastAck })
	l.at(born + 31*second)
	e := flow.Event{Kind: flow.EventTransition, Time: l.now, ID: s.ID, Old: flow.StateCloseWait, New: flow.StateLastAck}
	l.d.Event(&e)
	l.at(l.now, "resolved closed")
	l.drop(s.Addr)
	l.at(born + 91*second)
	l.watched(1, 0)
	e.Old, e.New, e.Time = flow.StateLastAck, flow.StateClose, l.now
	l.d.Event(&e)
	l.at(l.now)
	l.watched(0, 0)
}

// What an event ends between Due and Judge is not judged any more.
func TestEventBetweenDueAndJudge(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 30*second
	l.read(l.d.Due(l.now))
	l.moved(s.Addr, flow.StateClose)
	l.d.Judge(l.now)
	l.at(l.now)
	l.watched(0, 0)
}

// Memory for a crowd that has left is given back but for a bounded part.
func TestFreeListIsBounded(t *testing.T) {
	l := newLab(t, testThreshold)
	const crowd = 3 * freeMax
	for i := range uint64(crowd) {
		s := socket(1+i, 1+i, flow.StateCloseWait)
		l.put(s)
		l.promoted(s, born)
	}
	for i := range uint64(crowd) {
		l.moved(1+i, flow.StateClose)
	}
	checkDetector(t, l.d)
	if n := len(l.d.free); n > freeMax {
		t.Errorf("%d entries are kept for later, want at most %d", n, freeMax)
	}
}
