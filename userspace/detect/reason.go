package detect

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// sendMargin separates data sent before the state was entered from data sent
// in it: the kernel's stamps are coarse (up to 10 ms at HZ=100) and the last
// answer often leaves in the same moment as the peer's FIN arrives.
const sendMargin = 100 * time.Millisecond

// Reason says why a socket of this kind is stuck. age is how long it has been
// in its state and threshold how long is too long.
func Reason(kind finding.Kind, s *flow.Sock, age, threshold time.Duration) finding.Reason {
	switch kind {
	case finding.SynSentStalled:
		return synSentReason(s)
	case finding.FinWait2Dangling:
		if s.TimeWait || s.Dead {
			return finding.Orphaned
		}
		return finding.HalfClosed
	case finding.CloseWaitSilent:
		return closeWaitReason(s, age, threshold)
	case finding.ClosingStalled:
		if s.SendWindow == 0 && s.Unsent() > 0 {
			return finding.ZeroWindow
		}
		return finding.PeerSilent
	case finding.EstablishedStalled, finding.KindNone, finding.KindCount:
	}
	return finding.ReasonNone
}

func closeWaitReason(s *flow.Sock, age, threshold time.Duration) finding.Reason {
	switch {
	case Unaccepted(s):
		return finding.Unaccepted
	case stillSending(s, age, threshold):
		return finding.StillSending
	case s.FinUnread():
		return finding.EOFUnread
	}
	return finding.EOFIgnored
}

// Unaccepted reports whether a connection waits in a listener's queue: no
// struct socket was made for it and no program closed it (net/ipv4/
// inet_connection_sock.c, inet_csk_accept grafts it).
func Unaccepted(s *flow.Sock) bool {
	return !s.HasSocket && !s.Dead && !s.TimeWait && s.State != flow.StateSynSent
}

// stillSending: new data left after the peer had closed, and not long ago.
// Retransmissions stamp the socket as well (net/ipv4/tcp_output.c,
// tcp_event_data_sent), so while those go on the stamp proves nothing. The age is
// of another clock than the stamps: where jiffies stand still for a while (before
// 5.17, a virtual machine whose timekeeping CPU is not running), stamps look
// younger, all alike. Before the FIN came what the peer sent last.
func stillSending(s *flow.Sock, age, threshold time.Duration) bool {
	return s.Retransmits == 0 && s.LastSend >= 0 && s.LastSend+sendMargin < min(age, max(threshold, sendMargin)) &&
		(s.LastReceive < 0 || s.LastSend+sendMargin < s.LastReceive)
}

// steady keeps a finding from changing its mind with each pause of a program that
// sends now and then: that it stopped is believed when it sent nothing for twice
// the threshold, and for twice as long as that each time it was wrong.
func (ent *entry) steady(reason finding.Reason, s *flow.Sock, threshold time.Duration) finding.Reason {
	if ent.flag == nil || ent.reason != finding.StillSending || reason == finding.StillSending {
		return reason
	}
	patience := max(ent.patience, 2*threshold)
	// Retransmissions stamp the socket too, and prove neither.
	if s.Retransmits > 0 || (s.LastSend >= 0 && s.LastSend < patience) {
		return finding.StillSending
	}
	ent.patience = 2 * patience
	return reason
}

// AgeBound returns how long a socket that was not seen entering its state has
// been in it at least. It never claims more than the socket proves.
func AgeBound(s *flow.Sock) time.Duration {
	switch s.State {
	case flow.StateSynSent:
		return max(0, s.Waiting)
	case flow.StateCloseWait:
		// The FIN carried an ACK, as every segment but the first SYN does;
		// what acknowledges our later data only makes the bound smaller.
		return max(0, s.LastAck)
	case flow.StateFinWait2:
		if s.TimeWait {
			return max(0, s.Waiting)
		}
		return max(0, s.LastAck)
	case flow.StateFinWait1, flow.StateLastAck, flow.StateClosing:
		return max(0, s.Waiting)
	case flow.StateEstablished:
		return 0
	}
	return 0
}

// errnoOutcome translates sk_err; ok is false for 0 and for what says nothing.
func errnoOutcome(errno int32) (o finding.Outcome, ok bool) {
	switch unix.Errno(errno) {
	case unix.ETIMEDOUT:
		return finding.OutcomeTimedOut, true
	case unix.ECONNREFUSED:
		return finding.OutcomeRefused, true
	case unix.ECONNRESET, unix.EPIPE:
		// net/ipv4/tcp_input.c, tcp_reset: EPIPE in CLOSE_WAIT
		return finding.OutcomeReset, true
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENOPROTOOPT,
		unix.EACCES, unix.EPERM, unix.EINVAL:
		// EINVAL is what a blackhole route says (net/ipv4/fib_semantics.c, fib_props).
		return finding.OutcomeUnreachable, true
	case unix.ECONNABORTED:
		// net/ipv4/tcp.c, tcp_abort
		return finding.OutcomeDestroyed, true
	}
	return finding.OutcomeUnknown, false
}

// outcomeOf says how a socket left the state of its finding. errno is sk_err at
// that moment; 0 on the way to CLOSE means that the program ended it.
func outcomeOf(old, now flow.State, errno int32) finding.Outcome {
	if old == flow.StateSynSent && now == flow.StateEstablished {
		return finding.OutcomeEstablished
	}
	if now == flow.StateClose {
		if o, ok := errnoOutcome(errno); ok {
			return o
		}
	}
	switch old {
	case flow.StateSynSent:
		if now == flow.StateClose && errno == 0 {
			return finding.OutcomeCanceled
		}
	case flow.StateCloseWait:
		if now == flow.StateLastAck || now == flow.StateClose {
			return finding.OutcomeClosed
		}
	case flow.StateFinWait2, flow.StateClosing, flow.StateLastAck:
		if now == flow.StateClose || now == flow.StateTimeWait {
			return finding.OutcomeClosed
		}
	case flow.StateFinWait1:
		switch now {
		case flow.StateFinWait2:
			return finding.OutcomeRecovered
		case flow.StateClose, flow.StateTimeWait:
			return finding.OutcomeClosed
		}
	case flow.StateEstablished:
		return finding.OutcomeClosed
	}
	return finding.OutcomeUnknown
}
