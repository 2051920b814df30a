package detect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestOpensAtItsThreshold(t *testing.T) {
	for _, state := range []flow.State{
		flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck, flow.StateClosing,
	} {
		t.Run(state.String(), func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, state)
			threshold := testThreshold[finding.KindOf(state)]
			l.put(s)
			l.now = born + 2*tick
			l.promoted(s, born)
			if next, _ := l.d.Next(); next != born+threshold {
				t.Errorf("Next = %v, want the threshold's %v", next-born, threshold)
			}
			l.at(born + threshold - 1)
			if l.reads != 0 {
				t.Errorf("%d readings before the threshold, want 0", l.reads)
			}
			reason := Reason(finding.KindOf(state), &s, threshold, threshold)
			v := l.at(born+threshold, "open "+reason.String())[0]
			if v.Since != born || !v.Exact || v.At != l.now || v.Due != born+threshold || v.Threshold != threshold {
				t.Errorf("since %v (exact %v), at %v, due %v, threshold %v", v.Since, v.Exact, v.At, v.Due, v.Threshold)
			}
			if v.Kind != finding.KindOf(state) || v.Sock.State != state || !v.Live || v.Sock.Peer != s.Peer {
				t.Errorf("%v of a socket in %v to %v, live %v", v.Kind, v.Sock.State, v.Sock.Peer, v.Live)
			}
			if want := testID(s.ID, v.Kind, born); v.ID != want {
				t.Errorf("id %q, want %q", v.ID, want)
			}
			l.watched(1, 1)
		})
	}
}

func TestResolvesOnce(t *testing.T) {
	tests := []struct {
		name  string
		state flow.State
		to    flow.State
		errno unix.Errno
		want  finding.Outcome
	}{
		{"a connect succeeds late", flow.StateSynSent, flow.StateEstablished, 0, finding.OutcomeEstablished},
		{"a connect is refused", flow.StateSynSent, flow.StateClose, unix.ECONNREFUSED, finding.OutcomeRefused},
		{"a connect times out", flow.StateSynSent, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},
		{"a connect is canceled", flow.StateSynSent, flow.StateClose, 0, finding.OutcomeCanceled},
		{"a socket is reset", flow.StateCloseWait, flow.StateClose, unix.EPIPE, finding.OutcomeReset},
		{"a socket is destroyed", flow.StateCloseWait, flow.StateClose, unix.ECONNABORTED, finding.OutcomeDestroyed},
		{"the last FIN is acknowledged", flow.StateLastAck, flow.StateClose, 0, finding.OutcomeClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, tt.state)
			l.put(s)
			l.promoted(s, born)
			open := l.at(born+61*second, "open "+Reason(finding.KindOf(tt.state), &s, time.Hour, second).String())[0]
			l.now += second
			l.moved(s.Addr, tt.to, errno(int32(tt.errno)))
			v := l.at(l.now, "resolved "+tt.want.String())[0]
			if v.ID != open.ID || v.Kind != open.Kind || v.Reason != open.Reason || v.Since != open.Since {
				t.Errorf("resolved %+v, opened %+v", v, open)
			}
			if v.Sock.State != tt.state || v.Live {
				t.Errorf("resolved in %v, live %v; want the state of the finding", v.Sock.State, v.Live)
			}
			l.at(born + time.Hour)
			l.watched(0, 0)
		})
	}
}

// A program that closes late turns one finding into nothing, and the next state
// has a time and a finding of its own.
func TestNextStateIsANewFinding(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	first := l.at(born+30*second, "open eof_ignored")[0]
	l.now = born + 40*second
	l.moved(s.Addr, flow.StateLastAck)
	l.at(born+40*second, "resolved closed")
	l.watched(1, 0)
	l.at(born + 100*second - 1)
	next := l.at(born+100*second, "open peer_silent")[0]
	if next.ID == first.ID || next.Since != born+40*second {
		t.Errorf("the second finding is %q since %v", next.ID, next.Since-born)
	}
	l.now = born + 110*second
	l.moved(s.Addr, flow.StateClose, errno(int32(unix.ETIMEDOUT)))
	l.at(l.now, "resolved timed_out")
	l.watched(0, 0)
}

// FIN_WAIT1 and CLOSING are one kind: the time goes on.
func TestStatesOfOneKindShareTheirTime(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 59*second
	l.moved(s.Addr, flow.StateClosing)
	l.at(born + 59*second)
	v := l.at(born+60*second, "open peer_silent")[0]
	if v.Sock.State != flow.StateClosing || v.Since != born {
		t.Errorf("opened in %v since %v", v.Sock.State, v.Since-born)
	}
	l.now = born + 61*second
	l.moved(s.Addr, flow.StateClose)
	l.at(l.now, "resolved closed")
}

// What still drains is no finding, however long ago the program closed it.
func TestClosingThatMakesProgress(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	s.WriteSeq, s.SndNxt = 100_000, 50_000
	s.LastAck = second
	l.put(s)
	l.promoted(s, born)
	for l.now < born+300*second {
		l.at(l.now + second)
	}
	// From here on nothing is acknowledged.
	stopped := l.now
	for l.now < stopped+59*second-ackMargin {
		l.change(s.Addr, func(s *flow.Sock) { s.LastAck = second + l.now - stopped })
		l.at(l.now + tick)
	}
	l.change(s.Addr, func(s *flow.Sock) { s.LastAck = 60 * second })
	v := l.at(stopped+60*second, "open peer_silent")[0]
	// The last ACK came a second before it stopped. That it was to be looked at
	// four minutes earlier is no delay.
	if due := v.Due - stopped; due < 59*second-ackMargin || due > 59*second+tick {
		t.Errorf("was due %v after the last progress", due)
	}
}

func TestClosingWithoutWindow(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	// Probes are answered: the last ACK is young, and still nothing moves.
	s.WriteSeq, s.SendWindow, s.LastAck = 100_000, 0, second
	l.put(s)
	l.promoted(s, born)
	l.at(born+60*second, "open zero_window")
}
