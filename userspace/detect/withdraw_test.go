package detect

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

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
