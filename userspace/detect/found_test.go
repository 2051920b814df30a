package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

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
