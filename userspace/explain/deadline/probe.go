package deadline

import "github.com/tcplimbo/tcplimbo/tracer/flow"

// backoffMax is what tcp_probe0_when limits the shift to:
// ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1.
const backoffMax = 10

// queued plays the timers of a socket that has nothing in flight and cannot send
// what waits: a closed window, probed from time to time.
func (m *machine) queued(s *flow.Sock) Answer {
	if s.Expires < 0 || s.Pending != timeProbe0 {
		return Unknown
	}
	answers, known := m.answersProbes(s)
	switch {
	case !known:
		return Unknown
	case answers && !m.dead && m.limits.UserTimeout == 0:
		// An answer sets icsk_probes_out to 0, and nothing else counts.
		return Never
	}
	m.fire(m.start+m.jiffies(s.Expires), m.probeWhen())
	for range stepsMax {
		if m.probeTimeout() {
			return Ends
		}
		backoff := m.backoff
		m.probesOut++
		if m.backoff < int(m.limits.Retries2) {
			m.backoff++
		}
		if answers {
			m.probesOut = 0
			if m.backoff == backoff && m.dead && m.limits.UserTimeout == 0 {
				// tcp_send_probe0 backs off no further than tcp_retries2: an
				// orphan that is still "alive" then stays so.
				return Never
			}
		}
		m.sleep(m.clampProbe(m.probeWhen()))
	}
	return Unknown
}

// answersProbes tells whether the peer answers the probes. Silence makes
// icsk_probes_out grow along with the backoff, an answer sets it to 0. The answer
// to the last one may be on its way; and one that is missing proves nothing: a
// peer leaves it out where the probe before came less than half a second earlier
// (tcp_invalid_ratelimit).
func (m *machine) answersProbes(s *flow.Sock) (answers, known bool) {
	missing := m.probesOut
	if sent := m.probeWhen() - m.jiffies(s.Expires); missing > 0 && sent < m.rto {
		missing--
	}
	switch {
	case missing > 1:
		return false, true
	case missing == 1:
		return false, false
	}
	return true, m.backoff > m.probesOut
}

// probeWhen is tcp_probe0_when.
func (m *machine) probeWhen() int64 {
	return min(max(m.rto, m.jiffies(rtoMin))<<min(m.backoff, backoffMax), m.rtoMax)
}

// probeTimeout is tcp_probe_timer without the limits of memory.
func (m *machine) probeTimeout() bool {
	user := m.limits.UserTimeout
	if !m.probingKnown {
		m.probing, m.probingKnown = m.now, true
	} else if user > 0 && m.now-m.probing >= m.jiffies(user) {
		return true
	}
	limit := int(m.limits.Retries2)
	if m.dead {
		alive := m.rto<<min(m.backoff, 20) < m.rtoMax
		limit = m.orphanRetries(alive)
		if !alive && m.backoff >= limit {
			return true
		}
	}
	return m.probesOut >= limit
}

// clampProbe is tcp_clamp_probe0_to_user_timeout.
func (m *machine) clampProbe(when int64) int64 {
	const least = 2 // TCP_TIMEOUT_MIN
	if m.limits.UserTimeout == 0 {
		return when
	}
	remaining := m.jiffies(m.limits.UserTimeout) - (m.now - m.probing)
	return min(when, max(remaining, least))
}
