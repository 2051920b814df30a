// Package deadline computes when the kernel ends a TCP socket by itself. It plays
// the timers of net/ipv4/tcp_timer.c forward from the values of one moment, on
// the assumption that the peer stays as it is: silent if it is silent, answering
// if it answers. What that leaves open stays unknown.
//
// Function names in comments are the kernel's; the differences between 5.10 and
// 7.2 that matter are in the values, not in the rules.
package deadline

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Answer tells what is known of a socket's end.
type Answer uint8

// The answers.
const (
	// Unknown: it depends on what the peer will do, or on something not read.
	Unknown Answer = iota
	// Never: no timer of the kernel ends it, as long as the peer stays as it is.
	Never
	// Ends: the kernel ends it, after a time that is known.
	Ends
)

// String returns "unknown", "never" or "ends".
func (a Answer) String() string {
	switch a {
	case Never:
		return "never"
	case Ends:
		return "ends"
	case Unknown:
	}
	return "unknown"
}

// Of returns how long after it was read the kernel ends the socket; the time has
// a meaning with Ends only.
func Of(s *flow.Sock) (time.Duration, Answer) {
	switch s.State {
	case flow.StateSynSent, flow.StateEstablished, flow.StateFinWait1, flow.StateFinWait2,
		flow.StateCloseWait, flow.StateClosing, flow.StateLastAck, flow.StateTimeWait:
	default:
		return 0, Unknown
	}
	inFlight, queued := s.SndNxt != s.SndUna, s.WriteSeq != s.SndNxt
	if !s.TimeWait && !inFlight && !queued && mayIdle(s) && !s.Keepalive {
		return 0, Never
	}
	if s.Limits.HZ == 0 {
		if s.TimeWait {
			return max(0, s.Expires), Ends
		}
		return 0, Unknown
	}
	m := newMachine(s)
	var answer Answer
	switch {
	case s.TimeWait:
		answer = m.timewait(s)
	case inFlight:
		answer = m.inFlight(s)
	case queued:
		answer = m.queued(s)
	case s.State == flow.StateFinWait2 && s.Dead:
		answer = m.orphan(s)
	case mayIdle(s):
		answer = m.idle(s)
	}
	if answer != Ends {
		return 0, answer
	}
	return max(0, m.duration(m.now-m.start)), Ends
}

// mayIdle tells the states in which a socket can rest with nothing in flight. An
// orphan in FIN_WAIT2 cannot: tcp_close and tcp_rcv_state_process give it a timer.
func mayIdle(s *flow.Sock) bool {
	switch s.State {
	case flow.StateEstablished, flow.StateCloseWait:
		return true
	case flow.StateFinWait2:
		return !s.Dead
	}
	return false
}
