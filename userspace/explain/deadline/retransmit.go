package deadline

import (
	"math/bits"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// What icsk_pending can be (include/net/inet_connection_sock.h).
const (
	timeRetransmit = 1 // ICSK_TIME_RETRANS
	timeProbe0     = 3 // ICSK_TIME_PROBE0
	timeLossProbe  = 5 // ICSK_TIME_LOSS_PROBE
	timeReorder    = 6 // ICSK_TIME_REO_TIMEOUT
)

// inFlight plays the timers of a socket with something unacknowledged.
func (m *machine) inFlight(s *flow.Sock) Answer {
	if s.Expires < 0 || (m.retransmits > 0 && !m.stampKnown) {
		return Unknown
	}
	switch s.Pending {
	case timeRetransmit:
		m.fire(m.start+m.jiffies(s.Expires), m.rto)
	case timeLossProbe, timeReorder:
		// The retransmission timer is set anew after them (tcp_rearm_rto).
		m.fire(m.start+m.jiffies(s.Expires), m.jiffies(s.Expires))
		m.sleep(m.rto)
	default:
		return Unknown
	}
	if s.SendWindow == 0 && !m.dead && !m.syn {
		return m.shrunkWindow(s)
	}
	for range stepsMax {
		if m.writeTimeout() {
			return Ends
		}
		m.retransmits++
		if !m.stampKnown {
			m.stamp, m.stampKnown = m.now, true
		}
		m.backOff()
		m.sleep(m.clampToUserTimeout())
	}
	return Unknown
}

// backOff doubles the timeout (tcp_retransmit_timer), but for the first SYNs
// (tcp_syn_linear_timeouts).
func (m *machine) backOff() {
	if m.syn && m.retransmits <= int(m.limits.SynLinearTimeouts) {
		return
	}
	m.rto = min(m.rto*2, m.rtoMax)
}

// writeTimeout is tcp_write_timeout without the limits of memory.
func (m *machine) writeTimeout() bool {
	if m.syn {
		limit := int(m.limits.SynRetries)
		return m.retransmits >= limit+int(m.limits.SynLinearTimeouts) || m.timedOut(limit)
	}
	limit := int(m.limits.Retries2)
	if m.dead {
		limit = m.orphanRetries(m.rto < m.rtoMax)
	}
	return m.timedOut(limit)
}

// timedOut is retransmits_timed_out: a number of retries is a length of time, not
// a count.
func (m *machine) timedOut(retries int) bool {
	if m.retransmits == 0 {
		return false
	}
	timeout := m.limits.UserTimeout
	if timeout == 0 {
		timeout = m.modelTimeout(retries)
	}
	return m.duration(m.now-m.stamp) >= timeout
}

// modelTimeout is tcp_model_timeout.
func (m *machine) modelTimeout(retries int) time.Duration {
	base := m.jiffies(rtoMin)
	if m.syn {
		base = m.jiffies(synTimeout)
	}
	linear := bits.Len64(uint64(max(1, m.rtoMax/base))) - 1
	doubled := min(retries, linear)
	timeout := (int64(2)<<doubled - 1) * base
	return m.duration(timeout + int64(retries-doubled)*m.rtoMax)
}

// orphanRetries is tcp_orphan_retries.
func (m *machine) orphanRetries(alive bool) int {
	retries := int(m.limits.OrphanRetries)
	if m.softError && !alive {
		retries = 0
	}
	if retries == 0 && alive {
		return 8
	}
	return retries
}

// clampToUserTimeout is tcp_clamp_rto_to_user_timeout.
func (m *machine) clampToUserTimeout() int64 {
	if m.limits.UserTimeout == 0 {
		return m.rto
	}
	remaining := m.limits.UserTimeout - m.duration(m.now-m.stamp)
	if remaining <= 0 {
		return 1
	}
	return min(m.rto, m.jiffies(remaining))
}

// shrunkWindow is the part of tcp_retransmit_timer for a window that was closed
// over data in flight: retransmissions are probes then, and end the socket only
// if they are not answered (tcp_rtx_probe0_timed_out; e89688e3e978, 6.6 and
// stable kernels) or for longer than TCP_USER_TIMEOUT (97a9063518f1, 6.10 and
// stable kernels).
func (m *machine) shrunkWindow(s *flow.Sock) Answer {
	sent := m.rto - m.jiffies(s.Expires)
	answers := m.jiffies(s.LastAck) <= max(0, sent)
	user := m.limits.UserTimeout
	if answers && user == 0 {
		return Never
	}
	limit := m.duration(2 * m.rtoMax)
	if user > 0 {
		limit = min(limit, user)
	}
	if !m.stampKnown {
		m.stamp = m.start - m.jiffies(s.LastSend)
	}
	acked := m.start - m.jiffies(s.LastAck)
	for range stepsMax {
		lasting := m.duration(m.now - m.stamp)
		if user > 0 && lasting > user {
			return Ends
		}
		if !answers && lasting > limit && m.duration(m.now-acked) > limit {
			return Ends
		}
		m.rto = min(m.rto*2, m.rtoMax)
		m.sleep(m.clampToUserTimeout())
	}
	return Unknown
}
