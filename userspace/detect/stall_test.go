package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const stallAfter = 15 * second

// established is a healthy socket: nothing waits, the last data went both ways.
func established(addr uint64) flow.Sock {
	s := socket(addr, addr, flow.StateEstablished)
	s.SndUna, s.SndNxt, s.WriteSeq, s.RcvNxt, s.CopiedSeq = 1000, 1000, 1000, 2000, 2000
	s.Busy, s.RTO, s.Limits.Probing = -1, 200*time.Millisecond, -1
	return s
}

// silent is a socket whose peer is gone since then, with data in flight.
func silent(addr uint64, d time.Duration) flow.Sock {
	s := established(addr)
	s.SndNxt, s.WriteSeq, s.Retransmits, s.Backoff = 1500, 1500, 5, 5
	s.LastAck, s.Busy, s.LastReceive = d, d, time.Hour
	return s
}

// closedWindow is a socket whose peer does not read, with no stamp that proves it.
func closedWindow(addr uint64) flow.Sock {
	s := established(addr)
	s.WriteSeq, s.SendWindow, s.Pending, s.Backoff = 9000, 0, timeProbe0, 4
	s.LastAck, s.Busy = 0, time.Minute
	return s
}

// unread is a socket whose program does not read.
func unread(addr uint64) flow.Sock {
	s := established(addr)
	s.RcvNxt, s.LastReceive = 2600, time.Millisecond
	return s
}

// stalls lets a walk come across the socket at the address.
func (l *lab) stalls(addr uint64) {
	s := l.live[addr]
	if m, ok := l.aside[placeOf(addr)]; ok && m.Hash == s.Hash {
		return // walks leave it out
	}
	l.d.Stalls(&s, l.now)
}

// watch makes readings of a socket every second, as walks do, and changes it
// before each; it returns what was said.
func (l *lab) watch(addr uint64, span time.Duration, change func(*flow.Sock)) []string {
	var said []string
	for end := l.now + span; l.now < end; {
		l.now += second
		l.change(addr, change)
		if s := l.live[addr]; pending(&s) || Waiting(&s) || Unaccepted(&s) {
			l.stalls(addr)
		}
		l.look()
		for _, v := range l.verdicts() {
			said = append(said, words(&v))
		}
	}
	checkDetector(l.t, l.d)
	return said
}

func TestStallProvedByStamps(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(silent(0x100, 5*second))
	l.stalls(0x100)
	if next, _ := l.d.Next(); next != born+10*second+tick {
		t.Fatalf("due after %v, want 10s and a tick", next-born)
	}
	l.change(0x100, func(s *flow.Sock) { s.LastAck, s.Busy = stallAfter, stallAfter })
	v := l.at(born+10*second, "open peer_silent")[0]
	if v.Since != born-5*second || !v.Exact || v.Due != l.now || v.Kind != finding.EstablishedStalled {
		t.Errorf("since %v (exact %v), due %v, %v", v.Since-born, v.Exact, v.Due-born, v.Kind)
	}
}

// Without a stamp the first of two readings with nothing moved between counts.
func TestStallProvedByReadings(t *testing.T) {
	tests := []struct {
		sock flow.Sock
		want string
	}{
		{closedWindow(0x100), "open zero_window"},
		{unread(0x100), "open not_reading"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			eachLab(t, testThreshold, func(t *testing.T, l *lab) {
				l.put(tt.sock)
				l.stalls(0x100)
				l.at(born + stallAfter - 1)
				v := l.at(born+stallAfter, tt.want)[0]
				if v.Since != born || v.Exact {
					t.Errorf("since %v (exact %v)", v.Since-born, v.Exact)
				}
				l.watched(1, 1)
			})
		})
	}
}

func TestUnacceptedStall(t *testing.T) {
	eachLab(t, testThreshold, func(t *testing.T, l *lab) {
		s := established(0x100)
		s.HasSocket, s.LastAck, s.LastReceive = false, 4*second, 2*second
		l.put(s)
		l.stalls(0x100)
		l.at(born + 11*second - 1)
		if v := l.at(born+11*second, "open unaccepted")[0]; v.Since != born-4*second || v.Exact {
			t.Errorf("since %v (exact %v)", v.Since-born, v.Exact)
		}
		l.change(0x100, func(s *flow.Sock) { s.HasSocket = true })
		l.at(born+12*second, "resolved recovered")
		l.watched(0, 0)
	})
}

// What is healthy is never a finding, however long it lasts.
func TestHealthyEstablished(t *testing.T) {
	acked := func(s *flow.Sock) {
		s.SndUna += 500
		s.SndNxt, s.WriteSeq = s.SndUna+3000, s.SndUna+90000
		s.LastAck, s.Busy, s.Retransmits, s.SendWindow = 50*time.Millisecond, time.Hour, 0, 3000
	}
	every := func(seconds int, f func(*flow.Sock)) func(*flow.Sock) {
		n := 0
		return func(s *flow.Sock) {
			if n++; n%seconds == 0 {
				f(s)
			}
		}
	}
	tests := []struct {
		name   string
		sock   flow.Sock
		change func(*flow.Sock)
	}{
		{"idle", established(0x100), func(*flow.Sock) {}},
		{"a bulk transfer", closedWindow(0x100), acked},
		{"a transfer with pauses just below the threshold", silent(0x100, 0), every(14, acked)},
		{"a slow reader", unread(0x100), every(14, func(s *flow.Sock) { s.CopiedSeq++ })},
		{"a slow consumer at the peer", closedWindow(0x100), every(14, func(s *flow.Sock) { s.SndUna++; s.SndNxt++ })},
		{"in flight, and the timer has not fired", silent(0x100, 0), func(s *flow.Sock) { s.Retransmits, s.Backoff = 0, 0 }},
		{"held back by this side", closedWindow(0x100), func(s *flow.Sock) { s.Pending, s.SendWindow = 0, 65535 }},
		{"a peer that sends and does not read", closedWindow(0x100), every(5, func(s *flow.Sock) { s.RcvNxt++; s.CopiedSeq++ })},
		{"a program that never reads and whose data gets through", unread(0x100), every(5, acked)},
		{"accepted late", established(0x100), func() func(*flow.Sock) {
			n := 0
			return func(s *flow.Sock) {
				n++
				s.HasSocket, s.LastAck, s.LastReceive = n > 10, time.Duration(n)*second, time.Duration(n)*second
			}
		}()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachLab(t, testThreshold, func(t *testing.T, l *lab) {
				l.put(tt.sock)
				if said := l.watch(0x100, 600*second, tt.change); said != nil {
					t.Errorf("said %q", said)
				}
			})
		})
	}
}

// A program that writes and never reads is a finding once its buffer fills.
func TestCrowdedReader(t *testing.T) {
	eachLab(t, testThreshold, func(t *testing.T, l *lab) {
		s := unread(0x100)
		s.ReceiveBuffer = 100000
		l.put(s)
		writes := func(s *flow.Sock) { s.SndUna += 10; s.SndNxt, s.WriteSeq = s.SndUna, s.SndUna }
		if said := l.watch(0x100, 60*second, writes); said != nil {
			t.Fatalf("said %q", said)
		}
		l.change(0x100, func(s *flow.Sock) { s.ReceiveMemory = 50000 })
		if said := l.watch(0x100, 17*second, writes); len(said) == 0 || said[0] != "open not_reading" {
			t.Errorf("said %q", said)
		}
	})
}

func TestStallsTurnedOff(t *testing.T) {
	threshold := testThreshold
	threshold[finding.EstablishedStalled] = 0
	l := newLab(t, threshold)
	s := silent(0x100, time.Hour)
	l.put(s)
	l.stalls(0x100)
	l.d.Event(&flow.Event{Kind: flow.EventRetransmit, Time: born, ID: s.ID, Old: s.State, New: s.State})
	l.at(born + time.Hour)
	l.watched(0, 0)
}

// More suspects than are watched at a time are left to the next walk.
func TestSuspectsAreBounded(t *testing.T) {
	l := newLab(t, testThreshold)
	for i := range uint64(candidatesMax + 100) {
		s := unread(0x1000 + i)
		l.d.Stalls(&s, l.now)
	}
	l.watched(candidatesMax, 0)
}

func TestBlocked(t *testing.T) {
	shrunk := silent(1, 9*second)
	shrunk.SendWindow, shrunk.RTO, shrunk.Expires = 0, 8*second, 5*second
	change := func(s flow.Sock, f func(*flow.Sock)) flow.Sock { f(&s); return s }
	tests := []struct {
		name string
		sock flow.Sock
		want finding.Reason
	}{
		{"nothing waits", established(1), finding.ReasonNone},
		{"timed out", silent(1, 9*second), finding.PeerSilent},
		{"in flight", change(silent(1, 0), func(s *flow.Sock) { s.Retransmits = 0 }), finding.ReasonNone},
		{"a closed window", closedWindow(1), finding.ZeroWindow},
		{"one answer is missing", change(closedWindow(1), func(s *flow.Sock) { s.ProbesOut = probesUnanswered - 1 }), finding.ZeroWindow},
		{"no answers", change(closedWindow(1), func(s *flow.Sock) { s.ProbesOut = probesUnanswered }), finding.PeerSilent},
		{"a small window", change(closedWindow(1), func(s *flow.Sock) { s.SendWindow = 100 }), finding.ZeroWindow},
		{"held back", change(closedWindow(1), func(s *flow.Sock) { s.Pending = 0 }), finding.ReasonNone},
		{"shrunk over data, answered", change(shrunk, func(s *flow.Sock) { s.LastAck = 3 * second }), finding.ZeroWindow},
		{"shrunk over data, the answer is on its way", change(shrunk, func(s *flow.Sock) { s.Expires, s.LastAck = 8*second, 4*second }), finding.ZeroWindow},
		{"shrunk over data, not answered", shrunk, finding.PeerSilent},
		{"shrunk over data, not counted", change(shrunk, func(s *flow.Sock) { s.Retransmits, s.Backoff = 0, 0 }), finding.ZeroWindow},
	}
	for _, tt := range tests {
		if got := blocked(&tt.sock); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSilence(t *testing.T) {
	window := closedWindow(1)
	window.Limits.Probing, window.LastSend, window.LastReceive = 20*second, 21*second, time.Hour
	change := func(s flow.Sock, f func(*flow.Sock)) flow.Sock { f(&s); return s }
	tests := []struct {
		name string
		sock flow.Sock
		want time.Duration
	}{
		{"nothing waits", established(1), 0},
		{"a silent peer", silent(1, 9*second), 9 * second},
		{"written after a long silence", change(silent(1, 9*second), func(s *flow.Sock) { s.LastAck = time.Hour }), 9 * second},
		{"an ACK came since", change(silent(1, 9*second), func(s *flow.Sock) { s.LastAck = second }), second},
		{"data came since", change(silent(1, 9*second), func(s *flow.Sock) { s.LastReceive = second }), second},
		{"no data ever came", change(silent(1, 9*second), func(s *flow.Sock) { s.LastReceive = -1 }), 9 * second},
		{"no ACK is known", change(silent(1, 9*second), func(s *flow.Sock) { s.LastAck = -1 }), 0},
		{"nothing is queued, the kernel says", change(silent(1, 9*second), func(s *flow.Sock) { s.Busy = -1 }), 0},
		{"a closed window", window, 20 * second},
		{"sent after the first probe", change(window, func(s *flow.Sock) { s.LastSend = 3 * second }), 2800 * time.Millisecond},
		{"just sent", change(window, func(s *flow.Sock) { s.LastSend = time.Millisecond }), 0},
		{"data in flight", change(window, func(s *flow.Sock) { s.SndNxt++ }), 0},
		{"not probing", change(window, func(s *flow.Sock) { s.Limits.Probing = -1 }), 0},
	}
	for _, tt := range tests {
		if got := silence(&tt.sock); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
