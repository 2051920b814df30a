package detect

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

var (
	filtered = &flow.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+0xa2", Hook: "output"}
	unnamed  = &flow.Drop{Location: "nf_hook_slow+0xa2", Hook: "output"}
)

func TestSynSentReason(t *testing.T) {
	tests := []struct {
		name string
		syn  flow.SYN
		soft unix.Errno
		want finding.Reason
	}{
		{"nothing is known", flow.SYN{}, 0, finding.NoReply},
		{"a firewall's drop", flow.SYN{Drop: filtered}, 0, finding.DroppedLocally},
		{"a drop without a reason", flow.SYN{Drop: unnamed}, 0, finding.DroppedLocally},
		{"a drop counts before what was heard", flow.SYN{Drop: filtered, NextHopSilent: true}, unix.EHOSTUNREACH, finding.DroppedLocally},
		{"a drop that is past", flow.SYN{DropPast: true}, 0, finding.NoReply},

		{"the neighbour failed", flow.SYN{Drop: &flow.Drop{Reason: "NEIGH_FAILED"}}, 0, finding.Unreachable},
		{"too much waits for the neighbour", flow.SYN{Drop: &flow.Drop{Reason: "NEIGH_QUEUEFULL"}}, 0, finding.Unreachable},
		{"the neighbour's queue is emptied", flow.SYN{Drop: &flow.Drop{Reason: "QUEUE_PURGE"}}, 0, finding.Unreachable},
		{"no route", flow.SYN{Drop: &flow.Drop{Reason: "IP_OUTNOROUTES"}}, 0, finding.Unreachable},
		{"a silent neighbour", flow.SYN{NextHopSilent: true}, 0, finding.Unreachable},
		{"host unreachable", flow.SYN{}, unix.EHOSTUNREACH, finding.Unreachable},
		{"network unreachable", flow.SYN{}, unix.ENETUNREACH, finding.Unreachable},
		{"prohibited", flow.SYN{}, unix.EACCES, finding.Unreachable},
		{"a black hole", flow.SYN{}, unix.EINVAL, finding.Unreachable},
		{"a path MTU", flow.SYN{}, unix.EMSGSIZE, finding.NoReply},
		{"something else", flow.SYN{}, unix.ENOMEM, finding.NoReply},
	}
	for _, tt := range tests {
		s := &flow.Sock{State: flow.StateSynSent, SoftErr: int32(tt.soft), SYN: tt.syn}
		if got := Reason(finding.SynSentStalled, s, 3*second, 3*second); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// connects is a socket in SYN_SENT that is flagged for the given cause.
func connects(t *testing.T, syn flow.SYN, want string) (*lab, flow.Sock) {
	t.Helper()
	l, s := newLab(t, testThreshold), socket(1, 1, flow.StateSynSent)
	s.SYN = syn
	l.put(s)
	l.promoted(s, born)
	l.at(born+3*second, want)
	return l, s
}

func TestDropBeginsAndEnds(t *testing.T) {
	l, s := connects(t, flow.SYN{}, "open no_reply")
	l.change(s.Addr, func(s *flow.Sock) { s.SYN.Drop = filtered })
	l.at(born+4*second, "update dropped_locally")
	// Between counting a retransmission and sending it, the kernel seems not to
	// have dropped it.
	l.change(s.Addr, func(s *flow.Sock) { s.SYN = flow.SYN{DropPast: true} })
	l.at(born + 5*second)
	l.change(s.Addr, func(s *flow.Sock) { s.SYN = flow.SYN{Drop: filtered} })
	l.at(born+6*second, "update dropped_locally") // by its time
	l.change(s.Addr, func(s *flow.Sock) { s.SYN = flow.SYN{DropPast: true} })
	l.at(born + 7*second)
	v := l.at(born+8*second, "update no_reply")[0]
	if v.Sock.SYN.Drop != nil {
		t.Errorf("a drop that is past is told: %+v", v.Sock.SYN.Drop)
	}
}

// The kernel side remembers a limited number of drops.
func TestForgottenDropIsStillOne(t *testing.T) {
	l, s := connects(t, flow.SYN{Drop: filtered}, "open dropped_locally")
	l.change(s.Addr, func(s *flow.Sock) { s.SYN = flow.SYN{} })
	for i := range 3 {
		l.at(born + 4*second + time.Duration(i)*second/2)
	}
	v := l.at(born+6*second+second/2, "update dropped_locally")[0]
	if v.Sock.SYN.Drop != filtered {
		t.Errorf("told %+v", v.Sock.SYN.Drop)
	}
	l.moved(s.Addr, flow.StateEstablished)
	if v := l.at(l.now, "resolved established")[0]; v.Sock.SYN.Drop != filtered {
		t.Errorf("resolved with %+v", v.Sock.SYN.Drop)
	}
}

func TestOverflow(t *testing.T) {
	l, s := newLab(t, testThreshold), socket(1, 1, flow.StateSynSent)
	l.put(s)
	l.promoted(s, born)
	v := l.at(born+3*second, "open no_reply")[0]
	if !MayOverflow(&v) {
		t.Fatal("an unanswered connect cannot be a listener's doing")
	}
	full := &finding.Listener{Queue: 2, Limit: 1}
	l.d.Overflow(&v, full)
	if v.Reason != finding.ListenerOverflow || v.Listener != full {
		t.Fatalf("said %v of %v", v.Reason, v.Listener)
	}
	// It stays the reason until somebody looks again, which an update does.
	l.at(born + 4*second)
	v = l.at(born+6*second+second/2, "update listener_overflow")[0]
	if v.Listener != full || !MayOverflow(&v) {
		t.Errorf("updated with %v", v.Listener)
	}
	l.d.Overflow(&v, nil)
	if v.Reason != finding.NoReply || v.Listener != nil {
		t.Errorf("said %v of %v", v.Reason, v.Listener)
	}
	// A drop of our own is nearer.
	l.change(s.Addr, func(s *flow.Sock) { s.SYN.Drop = filtered })
	v = l.at(l.now+2*second, "update dropped_locally")[0]
	if MayOverflow(&v) {
		t.Error("a connect whose SYN does not leave waits for a listener")
	}
	l.moved(s.Addr, flow.StateClose)
	l.at(l.now, "resolved canceled")
}

// A finding that was withdrawn has no entry to remember a listener for.
func TestOverflowOfWhatIsGone(t *testing.T) {
	l, s := newLab(t, testThreshold), socket(1, 1, flow.StateSynSent)
	l.put(s)
	l.promoted(s, born)
	v := l.at(born+3*second, "open no_reply")[0]
	l.moved(s.Addr, flow.StateEstablished)
	l.d.Overflow(&v, &finding.Listener{})
	if v.Reason != finding.ListenerOverflow {
		t.Errorf("said %v", v.Reason)
	}
}

func TestConnecting(t *testing.T) {
	l := newLab(t, testThreshold)
	want := func(n int) {
		t.Helper()
		if got := l.d.Connecting(); got != n {
			t.Fatalf("%d connect, want %d", got, n)
		}
	}
	a, b, c := socket(1, 1, flow.StateSynSent), socket(2, 2, flow.StateSynSent), socket(3, 3, flow.StateCloseWait)
	want(0)
	l.put(a)
	l.promoted(a, born)
	want(1)
	l.put(b)
	l.put(c)
	l.promoted(b, born)
	l.promoted(c, born)
	want(2)
	l.moved(a.Addr, flow.StateEstablished)
	want(1)
	l.moved(b.Addr, flow.StateClose)
	want(0)
	l.moved(c.Addr, flow.StateClose)
	want(0)
}

// ended is the transition of a socket with that local port.
func ended(old, now flow.State, errno unix.Errno, port uint16) flow.Event {
	return flow.Event{
		Kind: flow.EventTransition, Old: old, New: now, Err: int32(errno),
		ID: flow.ID{Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port)},
	}
}

func TestEventOutcome(t *testing.T) {
	tests := []struct {
		name  string
		event flow.Event
		want  finding.Outcome
	}{
		{"canceled", ended(flow.StateSynSent, flow.StateClose, 0, 40000), finding.OutcomeCanceled},
		{"no port", ended(flow.StateSynSent, flow.StateClose, 0, 0), finding.OutcomePortExhausted},
		{"refused", ended(flow.StateSynSent, flow.StateClose, unix.ECONNREFUSED, 40000), finding.OutcomeRefused},
		{"an error says more than a port", ended(flow.StateSynSent, flow.StateClose, unix.ETIMEDOUT, 0), finding.OutcomeTimedOut},
		{"up", ended(flow.StateSynSent, flow.StateEstablished, 0, 40000), finding.OutcomeEstablished},
		{"closed", ended(flow.StateCloseWait, flow.StateClose, 0, 0), finding.OutcomeClosed},
	}
	for _, tt := range tests {
		if got := EventOutcome(&tt.event); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
