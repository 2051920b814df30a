package explain

import (
	"fmt"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// stalled is the cause of an ESTABLISHED socket whose data does not move.
func stalled(f *finding.Finding) string {
	s, who, peer := &f.Sock, holder(f), address(f.Sock.Peer)
	switch f.Reason {
	case finding.PeerSilent:
		if s.Unacked() == 0 {
			return fmt.Sprintf("%s does not answer %s of its closed window, %s that %s wrote wait",
				peer, probes(s.ProbesOut), bytesOf(s.Unsent()), who)
		}
		return fmt.Sprintf("%s does not acknowledge what %s sent (%s unacknowledged, %s)",
			peer, who, bytesOf(s.Unacked()), retransmits(s.Retransmits))
	case finding.ZeroWindow:
		return fmt.Sprintf("%s answers and does not read (window %d): %s that %s wrote wait",
			peer, s.SendWindow, bytesOf(s.WriteSeq-s.SndUna), who)
	case finding.NotReading:
		return fmt.Sprintf("%s does not read from %s (%s wait%s)", who, peer, bytesOf(s.Unread()), fullness(f))
	case finding.Unaccepted:
		return fmt.Sprintf("the connection from %s to %s was never accepted%s%s", peer, address(s.Local),
			listener(&f.Owner), backlog(&f.Owner))
	}
	return fmt.Sprintf("%s with %s", who, peer)
}

// fullness says how much of the receive buffer the unread bytes take.
func fullness(f *finding.Finding) string {
	s := &f.Sock
	if s.ReceiveBuffer == 0 {
		return ""
	}
	return fmt.Sprintf(", receive buffer %d %% full", uint64(s.ReceiveMemory)*100/uint64(s.ReceiveBuffer))
}

// backlog says how many connections wait beside this one, and how many may.
func backlog(o *finding.Owner) string {
	if o.Process.Relation != finding.RelationListener || o.AcceptLimit == 0 {
		return ""
	}
	// The kernel takes one more than the limit (include/net/sock.h, sk_acceptq_is_full).
	return fmt.Sprintf(" (%d wait in its queue, the limit is %d)", o.AcceptQueue, o.AcceptLimit)
}

func probes(n uint8) string {
	if n == 1 {
		return "1 probe"
	}
	return fmt.Sprintf("%d probes", n)
}

// Idle is the sentence about a connection that has been idle for long and that
// no keepalive watches.
func Idle(f *finding.Finding) string {
	return fmt.Sprintf("ESTABLISHED and idle for %s: %s with %s, without keepalive; whether the peer is still there, nobody knows",
		readable.Age(f.Duration), describe(&f.Owner), address(f.Sock.Peer))
}
