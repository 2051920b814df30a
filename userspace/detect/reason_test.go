package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const second = time.Second

func TestReason(t *testing.T) {
	// held is a socket that a program holds and that has nothing to send.
	held := func(state flow.State, change func(*flow.Sock)) flow.Sock {
		s := flow.Sock{State: state, HasSocket: true, SendWindow: 65535, LastSend: time.Hour, LastReceive: time.Hour}
		if change != nil {
			change(&s)
		}
		return s
	}
	const unread = 100
	tests := []struct {
		name           string
		sock           flow.Sock
		age, threshold time.Duration
		want           finding.Reason
	}{
		{"a connect", held(flow.StateSynSent, nil), 3 * second, 3 * second, finding.NoReply},

		{"half-closed", held(flow.StateFinWait2, nil), 30 * second, 30 * second, finding.HalfClosed},
		{
			"a full orphan", held(flow.StateFinWait2, func(s *flow.Sock) { s.Dead, s.HasSocket = true, false }),
			30 * second, 30 * second, finding.Orphaned,
		},
		{
			"a minisocket",
			flow.Sock{State: flow.StateFinWait2, TimeWait: true, Dead: true},
			30 * second, 30 * second, finding.Orphaned,
		},

		{"all is read", held(flow.StateCloseWait, nil), 30 * second, 30 * second, finding.EOFIgnored},
		{
			"data waits", held(flow.StateCloseWait, func(s *flow.Sock) { s.RcvNxt = unread + 1 }),
			30 * second, 30 * second, finding.EOFUnread,
		},
		{
			"the FIN alone waits", held(flow.StateCloseWait, func(s *flow.Sock) { s.RcvNxt = 1 }),
			30 * second, 30 * second, finding.EOFUnread,
		},
		{
			"sequence numbers wrap", held(flow.StateCloseWait, func(s *flow.Sock) { s.RcvNxt, s.CopiedSeq = 5, 1<<32-5 }),
			30 * second, 30 * second, finding.EOFUnread,
		},
		{
			"unaccepted", held(flow.StateCloseWait, func(s *flow.Sock) { s.HasSocket = false }),
			30 * second, 30 * second, finding.Unaccepted,
		},
		{
			"unaccepted wins over unread", held(flow.StateCloseWait, func(s *flow.Sock) { s.HasSocket, s.RcvNxt = false, unread }),
			30 * second, 30 * second, finding.Unaccepted,
		},
		{
			"sent a moment ago", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = second }),
			30 * second, 30 * second, finding.StillSending,
		},
		{
			"still sending wins over unread", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend, s.RcvNxt = second, unread }),
			30 * second, 30 * second, finding.StillSending,
		},
		{
			"sent before what came last, by stamps that stood still with jiffies",
			held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend, s.LastReceive = 29*second, 29*second }),
			30 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"sent long ago in this state", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = 40 * second }),
			90 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"sent in the moment of the FIN", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = 30*second - sendMargin }),
			30 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"sent right after the margin", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = 30*second - sendMargin - 1 }),
			30 * second, 30 * second, finding.StillSending,
		},
		{
			"sent before the FIN", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = 31 * second }),
			30 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"the kernel repeats", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend, s.Retransmits = second, 3 }),
			30 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"never sent", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = -1 }),
			30 * second, 30 * second, finding.EOFIgnored,
		},
		{
			"a threshold below the margin", held(flow.StateCloseWait, func(s *flow.Sock) { s.LastSend = sendMargin / 2 }),
			sendMargin, sendMargin / 10, finding.EOFIgnored,
		},

		{"no acknowledgement", held(flow.StateFinWait1, nil), 60 * second, 60 * second, finding.PeerSilent},
		{"no answer to the last FIN", held(flow.StateLastAck, nil), 60 * second, 60 * second, finding.PeerSilent},
		{"both closed at once", held(flow.StateClosing, nil), 60 * second, 60 * second, finding.PeerSilent},
		{
			"no room at the peer", held(flow.StateFinWait1, func(s *flow.Sock) { s.SendWindow, s.WriteSeq = 0, 1000 }),
			60 * second, 60 * second, finding.ZeroWindow,
		},
		{
			"no room, but only the FIN waits", held(flow.StateFinWait1, func(s *flow.Sock) { s.SendWindow, s.WriteSeq = 0, 1 }),
			60 * second, 60 * second, finding.PeerSilent,
		},
		{
			"no room, but all was sent",
			held(flow.StateLastAck, func(s *flow.Sock) { s.SendWindow, s.WriteSeq, s.SndNxt = 0, 1000, 1000 }),
			60 * second, 60 * second, finding.PeerSilent,
		},

		{"established", held(flow.StateEstablished, nil), time.Hour, second, finding.ReasonNone},
		{"a listener", held(flow.StateListen, nil), time.Hour, second, finding.ReasonNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Reason(finding.KindOf(tt.sock.State), &tt.sock, tt.age, tt.threshold); got != tt.want {
				t.Errorf("Reason = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUnaccepted(t *testing.T) {
	tests := []struct {
		name string
		sock flow.Sock
		want bool
	}{
		{"in a queue, the peer closed", flow.Sock{State: flow.StateCloseWait}, true},
		{"in a queue", flow.Sock{State: flow.StateEstablished}, true},
		{"accepted", flow.Sock{State: flow.StateCloseWait, HasSocket: true}, false},
		{"an orphan", flow.Sock{State: flow.StateFinWait1, Dead: true}, false},
		{"a minisocket", flow.Sock{State: flow.StateFinWait2, TimeWait: true}, false},
		{"a connect of the kernel's own", flow.Sock{State: flow.StateSynSent}, false},
	}
	for _, tt := range tests {
		if got := Unaccepted(&tt.sock); got != tt.want {
			t.Errorf("%s: Unaccepted = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAgeBound(t *testing.T) {
	// Every stamp is another one, so that a wrong one shows.
	stamps := flow.Sock{
		Waiting: 5 * second, LastAck: 7 * second, LastReceive: 11 * second, LastSend: 13 * second, Expires: 17 * second,
	}
	never := flow.Sock{Waiting: -1, LastAck: -1, LastReceive: -1, LastSend: -1, Expires: -1}
	tests := []struct {
		state    flow.State
		timeWait bool
		want     time.Duration
	}{
		{flow.StateSynSent, false, stamps.Waiting},
		{flow.StateCloseWait, false, stamps.LastAck},
		{flow.StateFinWait2, false, stamps.LastAck},
		{flow.StateFinWait2, true, stamps.Waiting},
		{flow.StateFinWait1, false, stamps.Waiting},
		{flow.StateLastAck, false, stamps.Waiting},
		{flow.StateClosing, false, stamps.Waiting},
		{flow.StateEstablished, false, 0},
		{flow.StateListen, false, 0},
		{flow.StateTimeWait, true, 0},
		{flow.StateUnknown, false, 0},
	}
	for _, tt := range tests {
		known, unknown := stamps, never
		known.State, known.TimeWait = tt.state, tt.timeWait
		unknown.State, unknown.TimeWait = tt.state, tt.timeWait
		if got := AgeBound(&known); got != tt.want {
			t.Errorf("%v (timewait %v): AgeBound = %v, want %v", tt.state, tt.timeWait, got, tt.want)
		}
		if got := AgeBound(&unknown); got != 0 {
			t.Errorf("%v (timewait %v) without stamps: AgeBound = %v, want 0", tt.state, tt.timeWait, got)
		}
	}
}
