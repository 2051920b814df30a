package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// nothing is in place of a time since when something has been waiting.
const nothing = time.Duration(-1)

// mark is since when (boot clock) a socket's data does not move, as far as it is
// proved; nothing where no data waits.
type mark struct {
	// write: what was written is not acknowledged, and nothing comes in.
	write time.Duration
	// read: what arrived is not read.
	read time.Duration
	// accept: no program has accepted the connection.
	accept time.Duration
}

var noMark = mark{nothing, nothing, nothing}

// take compares a reading with the one before it.
func (m *mark) take(before, s *flow.Sock, now time.Duration) {
	m.write = lasting(m.write, pending(s), before.SndUna == s.SndUna && before.RcvNxt == s.RcvNxt, now, silence(s))
	// A program that never reads and whose data gets through is no finding; but
	// where the buffer is filling, the peer waits or soon will.
	unread := before.CopiedSeq == s.CopiedSeq && (before.SndUna == s.SndUna || crowded(s))
	m.read = lasting(m.read, Waiting(s), unread, now, 0)
	m.accept = lasting(m.accept, Unaccepted(s), true, now, queuedFor(s))
}

// lasting returns since when something waits: as before if nothing moved since
// the last reading, else since now, and in each case since what is proved.
func lasting(since time.Duration, waits, still bool, now, proved time.Duration) time.Duration {
	switch {
	case !waits:
		return nothing
	case since == nothing || !still:
		since = now
	}
	return max(0, min(since, now-proved))
}

// pending: something written is not acknowledged.
func pending(s *flow.Sock) bool { return s.WriteSeq != s.SndUna }

// Waiting reports whether something that arrived is not read. The two numbers are read one after the
// other, so the second may be ahead.
func Waiting(s *flow.Sock) bool { return int32(s.RcvNxt-s.CopiedSeq) > 0 }

// Waits reports whether something waits in an ESTABLISHED socket: to be
// acknowledged, to be sent, to be read or to be accepted.
func Waits(s *flow.Sock) bool { return pending(s) || Waiting(s) || Unaccepted(s) }

// Stuck tells from two readings alone why an ESTABLISHED socket is stuck and for
// how long its data has not moved, as far as the second one proves it; ReasonNone
// if something moved between them.
func Stuck(before, s *flow.Sock) (finding.Reason, time.Duration) {
	reason := blocked(s)
	switch {
	case Unaccepted(s):
		return finding.Unaccepted, queuedFor(s)
	case reason != finding.ReasonNone && !Moved(reason, before, s) && before.RcvNxt == s.RcvNxt:
		return reason, silence(s)
	case Waiting(s) && !Moved(finding.NotReading, before, s):
		// The last of what waits came then.
		return finding.NotReading, max(0, s.LastReceive)
	}
	return finding.ReasonNone, 0
}

// crowded: unread data takes half of the receive buffer or more.
func crowded(s *flow.Sock) bool {
	return s.ReceiveBuffer > 0 && s.ReceiveMemory >= s.ReceiveBuffer/2
}

// silence returns for how long, as the socket proves, what was written has made no
// progress: since then neither an ACK nor data came, and something was queued all
// the time; or, behind a closed window, nothing was sent but probes.
func silence(s *flow.Sock) time.Duration {
	return max(0, unheard(s), probing(s))
}

func unheard(s *flow.Sock) time.Duration {
	if !pending(s) || s.LastAck < 0 || s.Busy < 0 {
		return 0
	}
	return received(s, min(s.LastAck, s.Busy))
}

// probing: the first probe of a closed window is due when all that was sent is
// acknowledged. The stamp of that may be older than what was sent later, through a
// window that opened a little (net/ipv4/tcp_input.c, tcp_ack_probe). That was
// acknowledged within the retransmission time-out, or it would have been sent again.
func probing(s *flow.Sock) time.Duration {
	if s.Pending != timeProbe0 || s.Unacked() > 0 || s.Limits.Probing < 0 || s.Busy < 0 || s.LastSend < 0 {
		return 0
	}
	return received(s, min(s.Limits.Probing, s.Busy, s.LastSend-s.RTO))
}

// received shortens a time to that since the last data came, if any did.
func received(s *flow.Sock, d time.Duration) time.Duration {
	if s.LastReceive >= 0 {
		d = min(d, s.LastReceive)
	}
	return max(0, d)
}

// queuedFor returns how long a connection has been waiting for accept, at least:
// both stamps are from after the handshake.
func queuedFor(s *flow.Sock) time.Duration { return max(0, s.LastAck, s.LastReceive) }

// over returns why and since when the socket is stuck for longer than threshold;
// ReasonNone if it is not.
func (m *mark) over(s *flow.Sock, now, threshold time.Duration) (finding.Reason, time.Duration) {
	long := func(since time.Duration) bool { return lasted(since, now, threshold) }
	switch {
	case m.accept != nothing:
		if long(m.accept) {
			return finding.Unaccepted, m.accept
		}
		return finding.ReasonNone, 0
	case long(m.write) && blocked(s) != finding.ReasonNone:
		return blocked(s), m.write
	case long(m.read):
		return finding.NotReading, m.read
	}
	return finding.ReasonNone, 0
}

// lasted: something has been waiting since then, and for too long.
func lasted(since, now, threshold time.Duration) bool {
	return since != nothing && now-since >= threshold
}

// long reports whether anything has been waiting for too long.
func (m *mark) long(now, threshold time.Duration) bool {
	return lasted(m.accept, now, threshold) || lasted(m.write, now, threshold) || lasted(m.read, now, threshold)
}

// next returns when the socket may be stuck for too long; false if nothing waits.
func (m *mark) next(now, threshold time.Duration) (time.Duration, bool) {
	next, ok := time.Duration(0), false
	for _, since := range [...]time.Duration{m.accept, m.write, m.read} {
		if since == nothing {
			continue
		}
		// What is over and no finding yet may become one any time.
		at := since + threshold
		if at <= now {
			at = now + max(pollLeast, threshold/4)
		}
		if !ok || at < next {
			next, ok = at, true
		}
	}
	return next, ok
}

// The kernel's names of a pending timer (include/net/inet_connection_sock.h).
const timeProbe0 = 3 // ICSK_TIME_PROBE0

// probesUnanswered is from how many on probes prove silence: a peer leaves out
// an answer where the probe before came less than half a second earlier
// (tcp_invalid_ratelimit), which the first two or three do.
const probesUnanswered = 4

// blocked says why written data does not move, given that it does not. None where
// nothing shows that it is stuck: data in flight whose timer has not fired, or
// data that this side holds back.
func blocked(s *flow.Sock) finding.Reason {
	switch {
	case s.Unacked() > 0 && s.SendWindow == 0:
		// A window that was closed over data in flight: not every kernel counts
		// the retransmissions that probe it (tcp_retransmit_timer).
		if answersTimer(s) || (s.Backoff == 0 && s.Retransmits == 0) {
			return finding.ZeroWindow
		}
		return finding.PeerSilent
	case s.Unacked() > 0:
		if s.Retransmits == 0 {
			return finding.ReasonNone
		}
		return finding.PeerSilent
	case s.Unsent() > 0 && s.Pending == timeProbe0:
		if s.ProbesOut >= probesUnanswered {
			return finding.PeerSilent
		}
		return finding.ZeroWindow
	}
	return finding.ReasonNone
}

// answersTimer: the last ACK came after the last firing of the retransmission
// timer, or after the one before, half a time-out earlier.
func answersTimer(s *flow.Sock) bool {
	if s.LastAck < 0 || s.Expires < 0 {
		return false
	}
	return s.LastAck <= max(0, s.RTO-s.Expires)+s.RTO/2+ackMargin
}

// Moved reports whether what was stuck for this reason has moved between two
// readings, or waits no more.
func Moved(reason finding.Reason, before, s *flow.Sock) bool {
	switch reason {
	case finding.Unaccepted:
		return !Unaccepted(s)
	case finding.NotReading:
		return !Waiting(s) || s.CopiedSeq != before.CopiedSeq
	case finding.PeerSilent, finding.ZeroWindow:
		return !pending(s) || s.SndUna != before.SndUna
	}
	return false
}
