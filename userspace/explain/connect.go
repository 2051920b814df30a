package explain

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// connecting says why a SYN is not answered.
func connecting(f *finding.Finding) string {
	return fmt.Sprintf("%s connects to %s%s (%s)", describe(&f.Owner), address(f.Sock.Peer), unanswered(f), syns(f.Sock.Retransmits))
}

func unanswered(f *finding.Finding) string {
	switch f.Reason {
	case finding.DroppedLocally:
		return " and this host itself drops the SYN" + dropped(&f.Sock)
	case finding.Unreachable:
		return noWay(&f.Sock)
	case finding.ListenerOverflow:
		return overflowing(f.Listener)
	}
	return " and nothing comes back"
}

// dropped tells reason and place, as far as the kernel does.
func dropped(sock *flow.Sock) string {
	d := sock.SYN.Drop
	if d == nil {
		return ""
	}
	s := ""
	if d.Reason != "" {
		s += ": " + readable.Safe(d.Reason, nameMax)
	}
	if d.Hook != "" {
		s += ", hook " + d.Hook
	}
	if d.Location != "" {
		s += ", in " + readable.Safe(d.Location, nameMax)
	}
	if d.NetNS != sock.NetNS && d.NetNS != 0 {
		s += fmt.Sprintf(", in network namespace %d", d.NetNS)
	}
	return s
}

func noWay(s *flow.Sock) string {
	switch {
	case s.SYN.Drop != nil:
		return " and there is no way there" + dropped(s)
	case unix.Errno(s.SoftErr) == unix.EINVAL:
		return " and the route is a black hole"
	case s.SoftErr != 0:
		return " and the last word was: " + unix.Errno(s.SoftErr).Error()
	case s.SYN.NextHopSilent:
		return " and the next hop does not answer " + discovery(s)
	}
	return " and there is no way there"
}

// discovery is how the link-layer address of the next hop is asked for.
func discovery(s *flow.Sock) string {
	if s.Peer.Addr().Is4() {
		return "ARP"
	}
	return "neighbour discovery"
}

func overflowing(l *finding.Listener) string {
	if l == nil {
		return ", where connections are not accepted"
	}
	wait := "1 connection waits"
	if l.Queue != 1 {
		wait = fmt.Sprintf("%d connections wait", l.Queue)
	}
	return fmt.Sprintf(", where %s does not accept: its queue is full, %s and the limit is %d",
		describe(&finding.Owner{Process: l.Process}), wait, l.Limit)
}
