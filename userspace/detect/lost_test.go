package detect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
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

// A walk comes across sockets that no event told of, with a bound on their age.
func TestFound(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.LastAck = 20 * second
	l.put(s)
	if !l.found(s.Addr, 0) || l.found(s.Addr, 0) {
		t.Error("a socket is new exactly once")
	}
	l.d.Tracked(s.ID)
	l.at(born + 10*second - 1)
	v := l.at(born+10*second, "open eof_ignored")[0]
	if v.Exact || v.Since != born-20*second {
		t.Errorf("since %v, exact %v; want 20s before it was found, not exact", v.Since-born, v.Exact)
	}
	l.drop(s.Addr)
	l.at(born + 11*second) // tracked: its event is waited for
	l.at(born+11*second+2*tick, "resolved unknown")
}

func TestFoundLongStuck(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.LastAck = 49 * 24 * time.Hour // before the boot, says a stamp that wrapped
	l.put(s)
	l.found(s.Addr, 0)
	if v := l.at(born, "open eof_ignored")[0]; v.Since < 0 || v.Due < 0 {
		t.Errorf("since %v, due %v: before the boot", v.Since, v.Due)
	}
}

// What the old generation recalls is exact.
func TestFoundAndRecalled(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateSynSent)
	l.put(s)
	opener := flow.Task{PID: 42, Comm: "curl"}
	if !l.d.Found(&s, opener, born-second, l.now) {
		t.Fatal("not new")
	}
	v := l.at(born+2*second, "open no_reply")[0]
	if !v.Exact || v.Since != born-second || v.Opener != opener {
		t.Errorf("since %v, exact %v, opener %+v", v.Since-born, v.Exact, v.Opener)
	}
}

// A walk and the event of the same socket may come in either order.
func TestFoundAndPromoted(t *testing.T) {
	opener := flow.Task{PID: 42, Comm: "curl"}
	promote := func(l *lab, s flow.Sock) {
		l.promoted(s, born-second, func(e *flow.Event) { e.Task = opener })
	}
	for name, first := range map[string]bool{"walk first": true, "event first": false} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, flow.StateSynSent)
			s.Waiting = second - 3*time.Millisecond
			l.put(s)
			if !first {
				promote(l, s)
			}
			if isNew := l.found(s.Addr, 0); isNew != first {
				t.Errorf("new %v, want %v", isNew, first)
			}
			if first {
				promote(l, s)
			}
			l.watched(1, 0)
			v := l.at(born+2*second, "open no_reply")[0]
			if !v.Exact || v.Since != born-second || v.Opener != opener {
				t.Errorf("since %v, exact %v, opener %+v; want what the event knows", v.Since-born, v.Exact, v.Opener)
			}
		})
	}
}

// FIN_WAIT1's slot knows who closed the socket, FIN_WAIT2's since when.
func TestTwoSlotsOfOneSocket(t *testing.T) {
	closer := flow.Task{PID: 42, Comm: "curl"}
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait2)
	l.put(s)
	l.promoted(s, born-2*second, func(e *flow.Event) { e.Task = closer })
	l.promoted(s, born-second)
	v := l.at(born+29*second, "open half_closed")[0]
	if v.Since != born-second || v.Opener != closer {
		t.Errorf("since %v, opener %+v", v.Since-born, v.Opener)
	}
	// Too late: a finding does not change its beginning.
	l.promoted(s, born)
	if v := l.at(born+59*second, "update half_closed")[0]; v.Since != born-second {
		t.Errorf("since %v", v.Since-born)
	}
}

// The event of a promotion that another CPU's transition overtook.
func TestPromotionComesTooLate(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.now = born + second
	l.moved(s.Addr, flow.StateLastAck)
	l.promoted(s, born)
	v := l.at(born+61*second, "open peer_silent")[0]
	if v.Since != born+second {
		t.Errorf("since %v, want when it went to LAST_ACK", v.Since-born)
	}
}

// 0 is "not known", not the boot.
func TestPromotedSinceNobodyKnows(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, 0)
	l.at(born + 30*second - 1)
	if v := l.at(born+30*second, "open eof_ignored")[0]; v.Exact || v.Since != born {
		t.Errorf("since %v, exact %v; want a bound: the event's time", v.Since-born, v.Exact)
	}
}

// A socket the walk finds in another state than the one that is known.
func TestFoundElsewhere(t *testing.T) {
	l, s, _ := stuck(t)
	l.change(s.Addr, func(s *flow.Sock) { s.State = flow.StateLastAck })
	l.now += tick
	if l.found(s.Addr, 0) {
		t.Error("a known socket is new")
	}
	l.at(l.now)
	l.at(l.now+2*tick, "resolved closed")
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

// What was decided and not written is as if it had not been decided.
func TestWithdrawOpen(t *testing.T) {
	l, s, open := stuck(t)
	l.d.Withdraw(&open, l.now)
	l.watched(1, 0)
	l.at(l.now + tick - 1)
	// Still stuck after all: opened again, exactly once, as the same finding.
	again := l.at(l.now+tick, "open eof_ignored")[0]
	if again.ID != open.ID || again.Since != open.Since {
		t.Errorf("opened again as %q since %v", again.ID, again.Since)
	}
	l.d.Withdraw(&again, l.now)
	l.moved(s.Addr, flow.StateClose)
	l.at(l.now)
	l.watched(0, 0)
}

func TestWithdrawUpdate(t *testing.T) {
	l, s, open := stuck(t)
	l.change(s.Addr, func(s *flow.Sock) { s.RcvNxt = 5 })
	update := l.at(born+31*second, "update eof_unread")[0]
	l.d.Withdraw(&update, l.now)
	l.watched(1, 1)
	// The reader still knows the first reason: the change is said again.
	update = l.at(l.now+tick, "update eof_unread")[0]
	l.d.Withdraw(&update, l.now)
	l.moved(s.Addr, flow.StateClose)
	if v := l.at(l.now, "resolved closed")[0]; v.Reason != finding.EOFIgnored || v.ID != open.ID {
		t.Errorf("resolved %q as %v, which was never said", v.ID, v.Reason)
	}
}

// The writer may come back with a verdict whose finding ended meanwhile.
func TestWithdrawTooLate(t *testing.T) {
	l, s, open := stuck(t)
	l.moved(s.Addr, flow.StateClose)
	l.at(l.now, "resolved closed")
	l.d.Withdraw(&open, l.now)
	l.watched(0, 0)

	// Its entry serves another socket now.
	next := socket(0x200, 9, flow.StateCloseWait)
	l.put(next)
	l.promoted(next, l.now)
	l.at(l.now+30*second, "open eof_ignored")
	l.d.Withdraw(&open, l.now)
	l.watched(1, 1)
}

// What the writer learned is there at the next verdict.
func TestKeep(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 0, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	v := &l.at(born+30*second, "open eof_ignored")[0]
	v.Sock.Role, v.Sock.Cookie = flow.RoleServer, 7
	v.Owner.Process.PID = 42
	l.d.Keep(v)
	// The walk over the holders made the cookie.
	l.change(s.Addr, func(s *flow.Sock) { s.Cookie = 7 })
	l.at(born + 31*second)
	v = &l.at(born+60*second, "update eof_ignored")[0]
	if v.Sock.Role != flow.RoleServer || v.Sock.Cookie != 7 || v.Owner.Process.PID != 42 {
		t.Errorf("role %v, cookie %d, pid %d", v.Sock.Role, v.Sock.Cookie, v.Owner.Process.PID)
	}
	l.moved(s.Addr, flow.StateClose)
	if v := l.at(l.now, "resolved closed")[0]; v.Owner.Process.PID != 42 {
		t.Errorf("resolved with pid %d", v.Owner.Process.PID)
	}
}
