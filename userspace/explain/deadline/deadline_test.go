package deadline

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const ms = time.Millisecond

// base is a socket with Linux's default limits; every field that a test is about
// it sets itself.
func base(state flow.State) flow.Sock {
	return flow.Sock{
		State: state, HasSocket: true, SendWindow: 65535,
		RTO: 200 * ms, SRTT: ms, Waiting: -1, Expires: -1,
		Limits: flow.Limits{
			HZ: 1000, Jiffies: 4294937296, // shortly before it wraps, as after the boot
			Probing: -1, FinTimeout: time.Minute, KeepaliveExpires: -1,
			KeepaliveTime: 2 * time.Hour, KeepaliveInterval: 75 * time.Second, KeepaliveProbes: 9,
			SynRetries: 6, Retries2: 15,
		},
	}
}

// syn is a connect that began this moment.
func syn() flow.Sock {
	s := base(flow.StateSynSent)
	s.SndNxt, s.WriteSeq = 1, 1
	s.RTO, s.Expires, s.Waiting, s.Pending = time.Second, time.Second, 0, timeRetransmit
	return s
}

// sent has one byte in flight, sent this moment with a timeout of 204 ms.
func sent(state flow.State) flow.Sock {
	s := base(state)
	s.SndNxt, s.WriteSeq = 1, 1
	s.RTO, s.Expires, s.Pending = 204*ms, 204*ms, timeRetransmit
	return s
}

// orphaned is sent, and then closed.
func orphaned() flow.Sock {
	s := sent(flow.StateFinWait1)
	s.Dead, s.HasSocket = true, false
	return s
}

// blocked has a byte to send, a closed window, and the second probe unanswered.
func blocked(state flow.State) flow.Sock {
	s := base(state)
	s.WriteSeq, s.SendWindow = 1, 0
	s.Pending, s.Backoff, s.ProbesOut = timeProbe0, 2, 2
	s.Expires, s.Limits.Probing = 500*ms, 900*ms
	return s
}

// with changes a socket.
func with(s flow.Sock, change func(*flow.Sock)) flow.Sock {
	change(&s)
	return s
}

func TestOf(t *testing.T) {
	tests := []struct {
		name   string
		sock   flow.Sock
		answer Answer
		// want is by the kernel's rules with timers that are never late. Each is
		// late by up to an eighth of what it was set to.
		want time.Duration
	}{
		// 1+2+4+8+16+32+64
		{"SYN_SENT", syn(), Ends, 127 * time.Second},
		// 1+1+1+1+1+2+4+8+16+32+64
		{"SYN_SENT, linear", with(syn(), func(s *flow.Sock) { s.Limits.SynLinearTimeouts = 4 }), Ends, 131 * time.Second},
		// Four more are allowed, but one retry is three seconds.
		{"SYN_SENT, linear, one retry", with(syn(), func(s *flow.Sock) {
			s.Limits.SynLinearTimeouts, s.Limits.SynRetries = 4, 1
		}), Ends, 3 * time.Second},
		{"SYN_SENT, under way", with(syn(), func(s *flow.Sock) {
			s.Retransmits, s.Backoff, s.RTO = 3, 3, 8*time.Second
			s.Waiting, s.Expires = 13*time.Second, 2*time.Second
		}), Ends, (2 + 16 + 32 + 64) * time.Second},
		{"SYN_SENT, TCP_USER_TIMEOUT", with(syn(), func(s *flow.Sock) { s.Limits.UserTimeout = 5 * time.Second }), Ends, 5 * time.Second},
		{"SYN_SENT, bounded timeout", with(syn(), func(s *flow.Sock) { s.Limits.RTOMax = 2 * time.Second }), Ends, (1 + 2*6) * time.Second},
		{"SYN_SENT, timer unknown", with(syn(), func(s *flow.Sock) { s.Expires = -1 }), Unknown, 0},

		// 15 retries are 924.6 s from the first retransmission, by 200 ms; this
		// one's timeouts are 204 ms, doubled nine times, and then two minutes.
		{"ESTABLISHED", sent(flow.StateEstablished), Ends, 204*ms + 208488*ms + 6*120*time.Second},
		{"CLOSE_WAIT", sent(flow.StateCloseWait), Ends, 204*ms + 208488*ms + 6*120*time.Second},
		{"ESTABLISHED, after a loss probe", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.Pending, s.Expires, s.Limits.Retries2 = timeLossProbe, 10*ms, 1
		}), Ends, 10*ms + 204*(1+2+4)*ms},
		{"ESTABLISHED, TCP_USER_TIMEOUT", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.Limits.UserTimeout = 10 * time.Second
		}), Ends, 204*ms + 10*time.Second},
		{"ESTABLISHED, under way", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.Retransmits, s.Backoff, s.RTO = 3, 3, 1632*ms
			s.Waiting, s.Expires, s.Limits.Retries2 = 2*time.Second, 856*ms, 5
		}), Ends, 856*ms + 2*1632*ms + 4*1632*ms},
		{"ESTABLISHED, since when is unknown", with(sent(flow.StateEstablished), func(s *flow.Sock) { s.Retransmits = 1 }), Unknown, 0},
		{"ESTABLISHED, no timer", with(sent(flow.StateEstablished), func(s *flow.Sock) { s.Pending = 0 }), Unknown, 0},
		{"ESTABLISHED, no limits", with(sent(flow.StateEstablished), func(s *flow.Sock) { s.Limits = flow.Limits{} }), Unknown, 0},

		// Eight retries where tcp_orphan_retries is 0: 102.2 s.
		{"FIN_WAIT1, orphan", orphaned(), Ends, 204 * 511 * ms},
		{"FIN_WAIT1, orphan, two retries", with(orphaned(), func(s *flow.Sock) { s.Limits.OrphanRetries = 2 }), Ends, 204 * 15 * ms},
		{"FIN_WAIT1, orphan, unreachable, timeout at its bound", with(orphaned(), func(s *flow.Sock) {
			s.SoftErr, s.Retransmits, s.Waiting = 113, 3, 10*time.Second
			s.RTO, s.Expires = 2*time.Minute, 50*time.Second
		}), Ends, 50 * time.Second},
		{"FIN_WAIT1, held", sent(flow.StateFinWait1), Ends, 204*ms + 208488*ms + 6*120*time.Second},
		{"CLOSING, orphan", with(orphaned(), func(s *flow.Sock) { s.State = flow.StateClosing }), Ends, 204 * 511 * ms},
		{"LAST_ACK", with(orphaned(), func(s *flow.Sock) { s.State = flow.StateLastAck }), Ends, 204 * 511 * ms},
		{"LAST_ACK, nothing in flight", base(flow.StateLastAck), Unknown, 0},

		// 200 ms doubled ten times is above two minutes: four more at 120 s.
		{"window closed, silent", with(blocked(flow.StateEstablished), func(s *flow.Sock) { s.Limits.Retries2 = 4 }), Ends, (500 + 1600 + 3200) * ms},
		{"window closed, not probed yet", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.Backoff, s.ProbesOut, s.Limits.Probing = 0, 0, -1
		}), Unknown, 0},
		{"window closed, answered", with(blocked(flow.StateEstablished), func(s *flow.Sock) { s.ProbesOut = 0 }), Never, 0},
		{"window closed, answered, last one on its way", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.ProbesOut, s.Expires = 1, 790*ms
		}), Never, 0},
		{"window closed, one unanswered, another one just sent", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.Expires = 810 * ms
		}), Unknown, 0},
		{"window closed, the first one just sent", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.Backoff, s.ProbesOut, s.Expires = 1, 1, 400*ms
		}), Unknown, 0},
		{"window closed, one unanswered", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.ProbesOut, s.Expires = 1, 300*ms
		}), Unknown, 0},
		{"window closed, answered, TCP_USER_TIMEOUT", with(blocked(flow.StateEstablished), func(s *flow.Sock) {
			s.ProbesOut, s.Limits.UserTimeout = 0, 5*time.Second
		}), Ends, 4100 * ms},
		{"window closed, orphan, silent", with(blocked(flow.StateFinWait1), func(s *flow.Sock) {
			s.Dead, s.Limits.OrphanRetries = true, 3
		}), Ends, (500 + 1600) * ms},
		// Until the timeout is at its bound: at the probe with backoff 10.
		{"window closed, orphan, answered", with(blocked(flow.StateFinWait1), func(s *flow.Sock) {
			s.Dead, s.ProbesOut = true, 0
		}), Ends, 500*ms + 200*(8+16+32+64+128+256+512)*ms + 120*time.Second},
		{"window closed, orphan, answered, backed off no further", with(blocked(flow.StateFinWait1), func(s *flow.Sock) {
			s.Dead, s.ProbesOut, s.Limits.Retries2 = true, 0, 5
		}), Never, 0},
		{"corked", with(blocked(flow.StateEstablished), func(s *flow.Sock) { s.Pending, s.Expires = 0, -1 }), Unknown, 0},

		{"window shrunk, answered", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.SendWindow, s.Expires, s.LastAck, s.LastSend = 0, 100*ms, 50*ms, time.Second
		}), Never, 0},
		{"window shrunk, answered, TCP_USER_TIMEOUT", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.SendWindow, s.Expires, s.LastAck, s.LastSend = 0, 100*ms, 50*ms, time.Second
			s.Waiting, s.Limits.UserTimeout = time.Second, 3*time.Second
		}), Ends, 2 * time.Second},
		{"window shrunk, silent", with(sent(flow.StateEstablished), func(s *flow.Sock) {
			s.SendWindow, s.RTO, s.Expires = 0, 2*time.Minute, time.Minute
			s.LastAck, s.LastSend, s.Waiting = 200*time.Second, 200*time.Second, 200*time.Second
		}), Ends, time.Minute},

		{"ESTABLISHED, idle", base(flow.StateEstablished), Never, 0},
		{"CLOSE_WAIT, idle", base(flow.StateCloseWait), Never, 0},
		{"FIN_WAIT2, half closed", base(flow.StateFinWait2), Never, 0},
		{"idle, no limits", with(base(flow.StateCloseWait), func(s *flow.Sock) { s.Limits = flow.Limits{} }), Never, 0},
		{"keepalive, not asked yet", with(base(flow.StateCloseWait), func(s *flow.Sock) {
			s.Keepalive, s.Limits.KeepaliveExpires = true, time.Hour
		}), Unknown, 0},
		{"keepalive, third unanswered", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.Keepalive, s.ProbesOut, s.Limits.KeepaliveExpires = true, 3, 25*time.Second
			s.LastAck, s.LastReceive = 3*time.Hour, 3*time.Hour
		}), Ends, (25 + 6*75) * time.Second},
		{"keepalive, first just sent", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.Keepalive, s.ProbesOut, s.Limits.KeepaliveExpires = true, 1, 75*time.Second-10*ms
			s.LastAck, s.LastReceive = 2*time.Hour, 2*time.Hour
		}), Unknown, 0},
		{"keepalive, TCP_USER_TIMEOUT", with(base(flow.StateEstablished), func(s *flow.Sock) {
			s.Keepalive, s.ProbesOut, s.Limits.KeepaliveExpires = true, 1, 5*time.Second
			s.LastAck, s.LastReceive = 70*time.Second, 80*time.Second
			s.Limits.KeepaliveTime, s.Limits.KeepaliveInterval = time.Minute, 15*time.Second
			s.Limits.UserTimeout = 100 * time.Second
		}), Ends, 35 * time.Second},

		{"FIN_WAIT2, minisocket", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.TimeWait, s.Dead, s.Expires = true, true, 42*time.Second
		}), Ends, 42 * time.Second},
		{"FIN_WAIT2, minisocket, no limits", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.TimeWait, s.Dead, s.Expires, s.Limits = true, true, 42*time.Second, flow.Limits{}
		}), Ends, 42 * time.Second},
		{"TIME_WAIT", with(base(flow.StateTimeWait), func(s *flow.Sock) {
			s.TimeWait, s.Dead, s.Expires = true, true, 42*time.Second
		}), Ends, 42 * time.Second},
		// What is above a minute, first whole and then as a minisocket.
		{"FIN_WAIT2, orphan", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.Dead, s.Limits.FinTimeout, s.Limits.KeepaliveExpires = true, 100*time.Second, 30*time.Second
		}), Ends, (30 + 40) * time.Second},
		{"FIN_WAIT2, orphan, end of file at once", with(base(flow.StateFinWait2), func(s *flow.Sock) {
			s.Dead, s.Limits.KeepaliveExpires = true, 30*time.Second
		}), Ends, 30 * time.Second},
		{"FIN_WAIT2, orphan, no timer", with(base(flow.StateFinWait2), func(s *flow.Sock) { s.Dead = true }), Unknown, 0},

		{"LISTEN", base(flow.StateListen), Unknown, 0},
		{"nothing", flow.Sock{}, Unknown, 0},
	}
	for _, tt := range tests {
		for _, hz := range []uint32{100, 250, 300, 1000} {
			s := tt.sock
			if s.Limits.HZ != 0 {
				s.Limits.HZ = hz
			}
			got, answer := Of(&s)
			if answer != tt.answer {
				t.Errorf("%s, HZ %d: %v after %v, want %v", tt.name, hz, answer, got, tt.answer)
				continue
			}
			jiffy := time.Second / time.Duration(hz)
			if least, most := tt.want-10*jiffy, tt.want+max(tt.want, s.RTO)/8+20*jiffy; answer == Ends && (got < least || got > most) {
				t.Errorf("%s, HZ %d: ends after %v, want %v, or an eighth more", tt.name, hz, got, tt.want)
			}
			if answer != Ends && got != 0 {
				t.Errorf("%s: a time, %v, without an end", tt.name, got)
			}
		}
	}
}

// The wheel's slots: the furthest a timer can be late (kernel/time/timer.c, the
// table at its head, for HZ 1000).
func TestFire(t *testing.T) {
	tests := []struct{ now, ahead, want int64 }{
		{0, 1, 2},
		{0, 62, 63},
		{0, 63, 64},
		{1, 63, 72},
		{0, 503, 504},
		{0, 504, 512},
		{0, 4032, 4096},
		{100, 4031, 4160},
		{0, 32256, 32768},
		{1 << 31, 120_000, 1<<31 + 122880},
	}
	for _, tt := range tests {
		m := machine{now: tt.now, limits: &flow.Limits{HZ: 1000}}
		m.sleep(tt.ahead)
		if m.now != tt.want {
			t.Errorf("armed at %d for %d jiffies: fires at %d, want %d", tt.now, tt.ahead, m.now, tt.want)
		}
	}
}

// Whatever stands in the memory of a socket that was freed while it was read, a
// prediction ends and is a time.
func FuzzOf(f *testing.F) {
	f.Add(uint8(1), uint8(1), uint8(3), uint8(0), uint8(2), uint32(250), uint32(50), int64(1), int64(1), int64(1), int64(0))
	f.Add(uint8(5), uint8(255), uint8(255), uint8(255), uint8(255), uint32(1000), uint32(1<<32-1), int64(1<<62), int64(1<<62), int64(1<<62), int64(1<<62))
	f.Fuzz(func(t *testing.T, state, flags, pending, backoff, counts uint8, hz, queue uint32, rto, expires, waiting, limit int64) {
		span := func(n int64) time.Duration { return time.Duration(max(-1, n%(1<<32*int64(10*ms)))) }
		s := flow.Sock{
			State: flow.State(state), TimeWait: flags&1 != 0, Dead: flags&2 != 0, Keepalive: flags&4 != 0,
			Pending: pending, Backoff: backoff, Retransmits: counts, ProbesOut: counts >> 4,
			SndNxt: queue & 0xff, WriteSeq: queue >> 8 & 0xff, SendWindow: queue >> 16 & 1,
			RTO: span(rto), Expires: span(expires), Waiting: span(waiting),
			LastAck: span(waiting), LastReceive: span(expires), LastSend: span(waiting),
			Limits: flow.Limits{
				HZ: hz % 1001, Jiffies: queue, RTOMax: span(limit), UserTimeout: span(limit),
				Probing: span(waiting), FinTimeout: span(limit), KeepaliveTime: span(limit),
				KeepaliveInterval: span(rto), KeepaliveExpires: span(expires), KeepaliveProbes: counts,
				SynRetries: counts, SynLinearTimeouts: backoff, Retries2: counts, OrphanRetries: backoff,
			},
		}
		in, answer := Of(&s)
		if in < 0 || (answer != Ends && in != 0) || answer > Ends {
			t.Errorf("%v after %v of %+v", answer, in, s)
		}
	})
}
