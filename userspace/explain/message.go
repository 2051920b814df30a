package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// nameMax bounds a program name in a sentence; the record has the full one.
const nameMax = 64

// stateWords are how people write the states of findings.
var stateWords = map[flow.State]string{
	flow.StateSynSent:   "SYN_SENT",
	flow.StateFinWait1:  "FIN_WAIT1",
	flow.StateFinWait2:  "FIN_WAIT2",
	flow.StateCloseWait: "CLOSE_WAIT",
	flow.StateLastAck:   "LAST_ACK",
	flow.StateClosing:   "CLOSING",

	flow.StateEstablished: "ESTABLISHED without progress",
}

// Message builds the sentence of a finding out of its facts.
func Message(f *finding.Finding) string {
	if f.Status == finding.Resolved {
		return resolved(f)
	}
	age := readable.Age(f.Duration)
	if !f.SinceExact {
		age = "at least " + age
	}
	s := fmt.Sprintf("%s for %s: %s", stateWords[f.Sock.State], age, cause(f)) + unseenHolder(f)
	var rest string
	if f.Peer != nil {
		rest += "; " + otherEnd(f.Peer)
	}
	if end := ending(f); end != "" {
		rest += "; " + end
	}
	return withPlace(s, f.Stack, rest)
}

// otherEnd says how it stands with the peer's socket, which is on this host.
func otherEnd(p *finding.Peer) string {
	s := "the other end is " + peerState(p.State)
	switch {
	case p.Owner.Process.Relation == finding.RelationHolder:
		return s + ", held by " + describe(&p.Owner)
	case p.Orphan:
		return s + ", closed by its process"
	case p.Unaccepted:
		return s + ", not accepted by any process"
	}
	return s
}

// peerState also knows the states that are no findings.
func peerState(s flow.State) string {
	if words, ok := stateWords[s]; ok && s != flow.StateEstablished {
		return words
	}
	return strings.ToUpper(s.String())
}

func cause(f *finding.Finding) string {
	if f.Kind == finding.EstablishedStalled {
		return stalled(f)
	}
	who, peer := holder(f), address(f.Sock.Peer)
	switch f.Reason {
	case finding.NoReply, finding.DroppedLocally, finding.Unreachable, finding.ListenerOverflow:
		return connecting(f)
	case finding.HalfClosed:
		return fmt.Sprintf("%s has finished sending to %s, which has not finished in turn", who, peer)
	case finding.Orphaned:
		return fmt.Sprintf("%s has not finished its side of a connection that %s", peer, closedBy(f))
	case finding.EOFIgnored:
		return fmt.Sprintf("%s has nothing left to read from %s, which closed, and has not closed", who, peer)
	case finding.EOFUnread:
		return fmt.Sprintf("%s closed and %s does not read (%s)", peer, who, unread(f.Sock.Unread()))
	case finding.StillSending:
		return fmt.Sprintf("%s keeps sending to %s, which closed", who, peer)
	case finding.Unaccepted:
		return fmt.Sprintf("%s closed a connection to %s that was never accepted%s", peer, address(f.Sock.Local), listener(&f.Owner))
	case finding.PeerSilent:
		return fmt.Sprintf("%s does not acknowledge the end of a connection that %s (%s, %s)",
			peer, closedBy(f), outstanding(&f.Sock), retransmits(f.Sock.Retransmits))
	case finding.ZeroWindow:
		return fmt.Sprintf("%s takes no more data (window 0) of a connection that %s; %s wait",
			peer, closedBy(f), bytesOf(f.Sock.Unsent()))
	}
	return fmt.Sprintf("%s with %s", who, peer)
}

// describe names the process: `api (pid 812, fd 14)`.
func describe(o *finding.Owner) string {
	p := &o.Process
	name := programName(p)
	switch {
	case name == "" && p.PID == 0:
		return "an unknown process"
	case name == "":
		name = "a process without a name" // prctl(PR_SET_NAME) takes an empty one
	}
	var parts []string
	if p.PID != 0 {
		parts = append(parts, fmt.Sprintf("pid %d", p.PID))
	}
	if p.FD >= 0 && p.Relation == finding.RelationHolder {
		parts = append(parts, fmt.Sprintf("fd %d", p.FD))
	}
	if n := o.Total; n > 1 {
		parts = append(parts, fmt.Sprintf("and %d more", n-1))
	}
	if len(parts) == 0 {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, strings.Join(parts, ", "))
}

// programName is the program's name, else the thread's; both are data from outside.
func programName(p *finding.Process) string {
	if p.Executable != "" {
		return readable.Safe(p.Executable, nameMax)
	}
	return readable.Safe(p.Comm, nameMax)
}

func address(a netip.AddrPort) string { return string(readable.AppendAddrPort(nil, a)) }

// unseen reports whether the socket is open and no process was found that holds
// it: nobody closed it, and whoever had it last does not have it now.
func unseen(f *finding.Finding) bool {
	return f.Live && f.Sock.HasSocket && f.Owner.Process.Relation != finding.RelationHolder
}

// holder names who is to act on the socket.
func holder(f *finding.Finding) string {
	if unseen(f) {
		return "an unseen holder"
	}
	return describe(&f.Owner)
}

// unseenHolder says what is known of the holder that was not found.
func unseenHolder(f *finding.Finding) string {
	if !unseen(f) {
		return ""
	}
	if f.Owner.Denied {
		return "; not all processes could be looked into (CAP_SYS_PTRACE is missing), so who holds it is not known"
	}
	s := "; no process holds a descriptor of it (in flight, in an io_uring, the kernel's own, or in another pid namespace)"
	if f.Owner.Process.Relation == finding.RelationLastHolder {
		s += ", " + describe(&f.Owner) + " had it last"
	}
	return s
}

// closedBy says who ended this side. shutdown(2) ends it too, and leaves the
// socket with its holder.
func closedBy(f *finding.Finding) string {
	o := &f.Owner
	switch relation := o.Process.Relation; {
	case relation == finding.RelationHolder:
		return describe(o) + " shut down and still holds"
	case unseen(f) && relation == finding.RelationCloser:
		return describe(o) + " shut down"
	case unseen(f):
		return "an unseen holder shut down"
	case relation == finding.RelationNone:
		return "its process closed"
	case relation == finding.RelationConnector:
		return describe(o) + " opened and nobody holds any more"
	}
	return describe(o) + " closed"
}

// outstanding says what the peer has not acknowledged. A lone FIN is no byte.
func outstanding(s *flow.Sock) string {
	bytes, fin := s.Unacked(), s.FinUnacked()
	switch {
	case bytes > 0 && fin:
		return bytesOf(bytes) + " and the FIN unacknowledged"
	case bytes > 0:
		return bytesOf(bytes) + " unacknowledged"
	case fin:
		return "the FIN unacknowledged"
	case s.Unsent() > 0:
		return bytesOf(s.Unsent()) + " and the FIN unsent"
	case s.WriteSeq != s.SndNxt:
		return "the FIN unsent"
	}
	return "nothing outstanding"
}

func listener(o *finding.Owner) string {
	if o.Process.Relation != finding.RelationListener {
		return ""
	}
	return fmt.Sprintf(" by %s", describe(o))
}

// anyMoment is what is not worth a number: the reader needs longer to read it.
const anyMoment = 100 * time.Millisecond

func ending(f *finding.Finding) string {
	switch {
	case !f.GivesUp.Known:
		return ""
	case f.GivesUp.Never:
		return "the kernel will never end it"
	case f.GivesUp.In < anyMoment:
		return "the kernel ends it any moment"
	}
	return "the kernel ends it in " + readable.Age(f.GivesUp.In)
}

func syns(retransmits uint8) string {
	if retransmits == 0 {
		return "1 SYN sent"
	}
	return fmt.Sprintf("%d SYNs sent", int(retransmits)+1)
}

func unread(n uint32) string {
	if n == 0 {
		return "the end of file waits"
	}
	return bytesOf(n) + " and the end of file wait"
}

func retransmits(n uint8) string {
	switch n {
	case 0:
		return "not retransmitted"
	case 1:
		return "1 retransmission"
	}
	return fmt.Sprintf("%d retransmissions", n)
}

func bytesOf(n uint32) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// outcomeWords finish the sentence "no longer in limbo after 31s: …".
var outcomeWords = [finding.OutcomeCount]string{
	finding.OutcomeEstablished:   "the connection came up",
	finding.OutcomeRefused:       "the peer refused",
	finding.OutcomeReset:         "the connection was reset",
	finding.OutcomeTimedOut:      "the kernel gave up",
	finding.OutcomeUnreachable:   "the peer is unreachable",
	finding.OutcomeCanceled:      "the program gave up connecting",
	finding.OutcomePortExhausted: "no local port was free",
	finding.OutcomeRecovered:     "data moves again",
	finding.OutcomeClosed:        "it was closed",
	finding.OutcomeDestroyed:     "it was destroyed by an administrator",
	finding.OutcomeUnknown:       "it ended unseen",
}

func resolved(f *finding.Finding) string {
	words := outcomeWords[f.Outcome]
	if f.Outcome == finding.OutcomeClosed {
		switch f.Sock.State {
		case flow.StateCloseWait:
			words = "the program closed it or shut it down"
		case flow.StateFinWait2:
			words = "the peer finished"
		}
	}
	return fmt.Sprintf("%s ended after %s: %s; it was %s with %s", stateWords[f.Sock.State],
		readable.Age(f.Duration.Round(time.Millisecond)), words, describe(&f.Owner), address(f.Sock.Peer))
}
