package deadline

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// The kernel's constants (include/net/tcp.h), in jiffies once multiplied by HZ.
const (
	rtoMaxDefault = 120 * time.Second      // TCP_RTO_MAX
	rtoMin        = 200 * time.Millisecond // TCP_RTO_MIN
	synTimeout    = time.Second            // TCP_TIMEOUT_INIT
	timewaitLen   = 60 * time.Second       // TCP_TIMEWAIT_LEN
)

// stepsMax bounds a simulation: no counter of 8 bits allows as many timers, and
// no clock counts on for as long.
const stepsMax = 1000

// machine is a socket's timers on a clock of their own, in jiffies.
type machine struct {
	limits *flow.Limits
	// start is when the socket was read, now the moment that is played.
	start, now int64

	syn, dead, softError bool

	rto, rtoMax                     int64
	retransmits, backoff, probesOut int
	// stamp is retrans_stamp, probing icsk_probes_tstamp; meant if known.
	stamp, probing           int64
	stampKnown, probingKnown bool
}

func newMachine(s *flow.Sock) *machine {
	m := &machine{
		limits:      &s.Limits,
		start:       int64(s.Limits.Jiffies),
		now:         int64(s.Limits.Jiffies),
		syn:         s.State == flow.StateSynSent,
		dead:        s.Dead,
		softError:   s.SoftErr != 0,
		retransmits: int(s.Retransmits),
		backoff:     int(s.Backoff),
		probesOut:   int(s.ProbesOut),
	}
	m.rto = max(1, m.jiffies(s.RTO))
	m.rtoMax = m.jiffies(rtoMaxDefault)
	if s.Limits.RTOMax > 0 {
		m.rtoMax = m.jiffies(s.Limits.RTOMax)
	}
	if s.Waiting >= 0 {
		m.stamp, m.stampKnown = m.start-m.jiffies(s.Waiting), true
	}
	if s.Limits.Probing >= 0 {
		m.probing, m.probingKnown = m.start-m.jiffies(s.Limits.Probing), true
	}
	return m
}

// jiffies rounds up, as msecs_to_jiffies does.
func (m *machine) jiffies(d time.Duration) int64 {
	hz := int64(m.limits.HZ)
	whole, rest := int64(d/time.Second), int64(d%time.Second)
	return whole*hz + (rest*hz+int64(time.Second)-1)/int64(time.Second)
}

func (m *machine) duration(jiffies int64) time.Duration {
	hz := int64(m.limits.HZ)
	return time.Duration(jiffies/hz)*time.Second + time.Duration(jiffies%hz)*time.Second/time.Duration(hz)
}

// sleep plays the clock to where a timer fires that is armed now.
func (m *machine) sleep(jiffies int64) { m.fire(m.now+jiffies, jiffies) }

// fire plays the clock to where a timer fires that was armed for a moment, with
// so many jiffies ahead. The timer wheel rounds up, the more coarsely the further
// ahead it was, by up to an eighth (kernel/time/timer.c, calc_wheel_index: 8
// levels of 64 slots, each 8 times as coarse as the one before).
func (m *machine) fire(expires, ahead int64) {
	level := uint(0)
	for level < 8 && ahead >= 63<<(3*level) {
		level++
	}
	shift := 3 * level
	m.now = max(m.now, (expires>>shift+1)<<shift)
}
