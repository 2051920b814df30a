package detect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestStallRecovers(t *testing.T) {
	tests := []struct {
		name   string
		sock   flow.Sock
		change func(*flow.Sock)
		left   int
	}{
		{"acknowledged in part", silent(0x100, stallAfter), func(s *flow.Sock) { s.SndUna++; s.Retransmits = 0 }, 1},
		{"acknowledged", silent(0x100, stallAfter), func(s *flow.Sock) { s.SndUna = s.WriteSeq }, 0},
		{"the window opens", closedWindow(0x100), func(s *flow.Sock) { s.SndUna, s.SndNxt = 2000, 2000 }, 1},
		{"read in part", unread(0x100), func(s *flow.Sock) { s.CopiedSeq++ }, 1},
		{"read", unread(0x100), func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			l.put(tt.sock)
			l.stalls(0x100)
			l.now = born + stallAfter
			l.look()
			if v := l.verdicts(); len(v) != 1 || v[0].Status != finding.Open {
				t.Fatalf("opened %d", len(v))
			}
			l.at(l.now + second)
			l.change(0x100, func(s *flow.Sock) {
				s.LastAck, s.Busy = time.Millisecond, time.Millisecond
				tt.change(s)
			})
			l.at(l.now+second, "resolved recovered")
			l.watched(tt.left, 0)
		})
	}
}

// The same socket stalls again: another finding.
func TestStallsAgain(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	first := l.at(born+stallAfter, "open not_reading")[0]
	l.change(0x100, func(s *flow.Sock) { s.CopiedSeq++ })
	l.at(l.now+second, "resolved recovered")
	second := l.at(l.now+stallAfter, "open not_reading")[0]
	if first.ID == second.ID {
		t.Errorf("both are %q", first.ID)
	}
}

// A peer that did not read goes away, and the other way round.
func TestStallChangesItsReason(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(closedWindow(0x100))
	l.stalls(0x100)
	l.at(born+stallAfter, "open zero_window")
	l.change(0x100, func(s *flow.Sock) { s.ProbesOut = probesUnanswered })
	l.at(l.now+second, "update peer_silent")
	l.change(0x100, func(s *flow.Sock) { s.ProbesOut = 0 })
	l.at(l.now+second, "update zero_window")
	// Data from the peer is no progress of ours.
	l.change(0x100, func(s *flow.Sock) { s.RcvNxt++; s.CopiedSeq++ })
	l.at(l.now + second)
}

func TestStallEnds(t *testing.T) {
	tests := []struct {
		to    flow.State
		errno unix.Errno
		want  string
		left  int
	}{
		{flow.StateClose, unix.ETIMEDOUT, "resolved timed_out", 0},
		{flow.StateClose, unix.ECONNRESET, "resolved reset", 0},
		{flow.StateClose, 0, "resolved closed", 0},
		{flow.StateFinWait1, 0, "resolved closed", 1},
		{flow.StateCloseWait, 0, "resolved closed", 1},
	}
	for _, tt := range tests {
		l := newLab(t, testThreshold)
		l.put(silent(0x100, stallAfter))
		l.stalls(0x100)
		v := l.at(born, "open peer_silent")[0]
		l.d.Tracked(v.Sock.ID)
		l.now += second
		l.moved(0x100, tt.to, errno(int32(tt.errno)))
		l.at(l.now, tt.want)
		l.watched(tt.left, 0)
	}
}

// Whatever happens to a socket that is only suspected, nothing is said of it as
// ESTABLISHED, and its next state begins when that began.
func TestSuspectMovesOn(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.now += 5 * second
	l.change(0x100, func(s *flow.Sock) { s.State = flow.StateCloseWait })
	l.promoted(l.live[0x100], l.now-tick)
	l.now += second
	v := l.at(born+5*second-tick+30*second, "open eof_unread")[0]
	if v.Since != born+5*second-tick || !v.Exact {
		t.Errorf("since %v (exact %v)", v.Since-born, v.Exact)
	}
	l = newLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.drop(0x100)
	l.at(born + stallAfter)
	l.watched(0, 0)
}

// Retransmissions make a socket known before any walk does.
func TestRetransmissionsWake(t *testing.T) {
	l := newLab(t, testThreshold)
	s := silent(0x100, 1400*time.Millisecond)
	l.put(s)
	e := flow.Event{Kind: flow.EventRetransmit, Time: born, ID: s.ID, Old: s.State, New: s.State, Retransmits: 3}
	l.d.Event(&e)
	l.at(born)
	if next, _ := l.d.Next(); next != born+stallAfter-1400*time.Millisecond+tick {
		t.Errorf("due after %v", next-born)
	}
	l.d.Event(&e) // once more is no news
	l.watched(1, 0)
	l.change(0x100, func(s *flow.Sock) { s.LastAck, s.Busy = stallAfter, stallAfter })
	l.at(born+stallAfter-1400*time.Millisecond, "open peer_silent")
}

func TestWithdrawStall(t *testing.T) {
	eachLab(t, testThreshold, func(t *testing.T, l *lab) {
		l.put(unread(0x100))
		l.stalls(0x100)
		v := l.at(born+stallAfter, "open not_reading")[0]
		l.d.Withdraw(&v, l.now)
		l.change(0x100, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
		l.at(l.now + tick)
		l.watched(0, 0)
	})
}
