package detect

import (
	"slices"
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

func TestUpdates(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	var said []time.Duration
	for l.now < born+1000*second {
		// Looks come at any time and a little late; each gap is still at least double.
		l.now += 777 * time.Millisecond
		l.look()
		for _, v := range l.verdicts() {
			if words(&v) != "update eof_ignored" {
				t.Fatalf("said %q", words(&v))
			}
			said = append(said, v.At-born)
		}
	}
	if len(said) != 5 {
		t.Fatalf("updates at %v, want five in 1000 s", said)
	}
	last, gap := 30*second, 15*second
	for i, at := range said {
		if at-last < 2*gap {
			t.Errorf("update %d came %v after the last, want at least %v (%v)", i, at-last, 2*gap, said)
		}
		last, gap = at, at-last
	}
}

func TestUpdateWhenTheReasonChanges(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.RcvNxt = 100
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_unread")
	l.change(s.Addr, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
	v := l.at(born+31*second, "update eof_ignored")[0]
	if v.Sock.CopiedSeq != 100 {
		t.Error("the update does not hold the values of its moment")
	}
	l.at(born + 32*second)
	// Changed and due at once: said once.
	l.change(s.Addr, func(s *flow.Sock) { s.LastSend = second })
	l.at(born+60*second, "update still_sending")
	l.at(born + 61*second)
	l.now = born + 62*second
	l.moved(s.Addr, flow.StateLastAck)
	if v := l.at(l.now, "resolved closed")[0]; v.Reason != finding.StillSending {
		t.Errorf("resolved as %v, want the last reason", v.Reason)
	}
}

// Open findings are read often enough to see a change, and not more often than
// the budget allows however many there are.
func TestPollingIsBounded(t *testing.T) {
	const sockets = 3 * pollRate
	l := newLab(t, testThreshold)
	for i := range uint64(sockets) {
		s := socket(0x100+i, 1+i, flow.StateCloseWait)
		l.put(s)
		l.promoted(s, born)
	}
	l.now = born + 30*second
	l.look()
	if n := len(l.verdicts()); n != sockets {
		t.Fatalf("%d findings, want %d", n, sockets)
	}
	l.reads = 0
	const span = 20 * second
	for l.now < born+30*second+span {
		l.now += tick
		l.look()
	}
	if rate := l.reads / int(span/second); rate < pollRate/2 || rate > pollRate*11/10 {
		t.Errorf("%d readings a second, want about %d", rate, pollRate)
	}
	checkDetector(t, l.d)
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
	l.at(stopped+60*second, "open peer_silent")
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

func TestKindsTurnedOff(t *testing.T) {
	for kind := finding.SynSentStalled; kind < finding.KindCount; kind++ {
		threshold := testThreshold
		threshold[kind] = 0
		l := newLab(t, threshold)
		want := 0
		for i, state := range []flow.State{
			flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck,
		} {
			s := socket(uint64(i+1), uint64(i+1), state)
			l.put(s)
			l.promoted(s, born)
			if finding.KindOf(state) != kind {
				want++
			}
		}
		var got []finding.Kind
		for l.now < born+200*second {
			l.now += second
			l.look()
			for _, v := range l.verdicts() {
				if v.Status == finding.Open {
					got = append(got, v.Kind)
				}
			}
		}
		if len(got) != want || slices.Contains(got, kind) {
			t.Errorf("%v is off: opened %v, want the %d others", kind, got, want)
		}
	}
}

// FIN_WAIT1 is watched for FIN_WAIT2's sake even if nobody wants to hear of it.
func TestTurnedOffStateLeadsToAnother(t *testing.T) {
	threshold := testThreshold
	threshold[finding.ClosingStalled] = 0
	l := newLab(t, threshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 10*second
	l.moved(s.Addr, flow.StateFinWait2)
	l.at(born + 40*second - 1)
	l.at(born+40*second, "open half_closed")
}

// A socket that goes on to a state nobody asked for is forgotten at once.
func TestTurnedOffStateIsForgotten(t *testing.T) {
	threshold := testThreshold
	threshold[finding.ClosingStalled] = 0
	l := newLab(t, threshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	l.moved(s.Addr, flow.StateLastAck)
	l.at(l.now, "resolved closed")
	l.watched(0, 0)
}

// Events do not carry everything that a reading told.
func TestEventsForgetNothing(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.CgroupID, s.Role, s.Inode = 4711, flow.RoleServer, 12
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	l.moved(s.Addr, flow.StateLastAck, func(e *flow.Event) { e.CgroupID = 0 })
	v := l.at(l.now, "resolved closed")[0]
	if v.Sock.CgroupID != s.CgroupID || v.Sock.Role != s.Role || v.Sock.Inode != s.Inode {
		t.Errorf("cgroup %d, role %v, inode %d", v.Sock.CgroupID, v.Sock.Role, v.Sock.Inode)
	}
}

// Sockets in a state that nobody watches are nobody's: not those that an event
// names, not those that a walk shows.
func TestOtherStatesAreIgnored(t *testing.T) {
	for state := range flow.StateMax + 3 {
		if kind := finding.KindOf(state); kind != finding.KindNone && kind != finding.EstablishedStalled {
			continue
		}
		l := newLab(t, testThreshold)
		s := socket(0x100, 7, state)
		l.put(s)
		l.promoted(s, born)
		l.moved(s.Addr, state)
		if l.put(s); l.found(s.Addr, 0) {
			t.Errorf("%v: a walk found something", state)
		}
		for range 100 {
			l.at(l.now + second)
		}
		l.watched(0, 0)
	}
}
