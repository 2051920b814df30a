package deadline

import "github.com/tcplimbo/tcplimbo/tracer/flow"

// idle plays tcp_keepalive_timer for a socket with SO_KEEPALIVE and nothing to
// send. As long as no probe is unanswered, the end depends on whether the next
// one will be, and that nobody knows.
func (m *machine) idle(s *flow.Sock) Answer {
	l := m.limits
	idle, interval := m.jiffies(l.KeepaliveTime), m.jiffies(l.KeepaliveInterval)
	if l.KeepaliveExpires < 0 || m.probesOut == 0 || interval <= 0 {
		return Unknown
	}
	if sent := interval - m.jiffies(l.KeepaliveExpires); m.probesOut == 1 && sent < m.rto {
		// The answer may be on its way.
		return Unknown
	}
	heard := m.start - m.jiffies(min(s.LastReceive, s.LastAck))
	m.fire(m.start+m.jiffies(l.KeepaliveExpires), interval)
	for range stepsMax {
		elapsed := m.now - heard
		switch {
		case elapsed < idle:
			m.sleep(idle - elapsed)
			continue
		case l.UserTimeout > 0 && elapsed >= m.jiffies(l.UserTimeout),
			l.UserTimeout == 0 && m.probesOut >= int(l.KeepaliveProbes):
			return Ends
		}
		m.probesOut++
		m.sleep(interval)
	}
	return Unknown
}

// orphan plays the timer of a closed socket that is still whole in FIN_WAIT2:
// where tcp_fin_timeout is above a minute, the part above comes first and then,
// in a minisocket, once more (tcp_keepalive_timer, tcp_time_wait); where the
// peer's FIN came while the socket was in use, the timer is the whole time.
func (m *machine) orphan(s *flow.Sock) Answer {
	l := m.limits
	if l.KeepaliveExpires < 0 {
		return Unknown
	}
	expires := m.jiffies(l.KeepaliveExpires)
	least := m.rto<<2 - m.rto>>1
	whole := max(m.jiffies(max(0, l.FinTimeout)), least) // tcp_fin_time
	above := whole - m.jiffies(timewaitLen)
	m.fire(m.start+expires, max(expires, above))
	if l.FinTimeout >= 0 && above > 0 {
		m.sleep(max(above, least))
	}
	return Ends
}

// timewait is the end of a minisocket (tw_timer_handler).
func (m *machine) timewait(s *flow.Sock) Answer {
	expires, whole := m.jiffies(max(0, s.Expires)), m.jiffies(timewaitLen)
	if s.State == flow.StateFinWait2 {
		whole = min(whole, m.jiffies(max(0, m.limits.FinTimeout)))
	}
	m.fire(m.start+expires, max(expires, whole))
	return Ends
}
