package workload

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a way to be stuck.
type Kind string

// The kinds. Each leaves one stuck socket per count; where the other end of
// the connection cannot but be stuck too, it has a Truth of its own.
const (
	// CloseWaitUnread: the peer closed, the program never read.
	CloseWaitUnread Kind = "close-wait-unread"
	// CloseWaitIgnored: the program read everything, the end of file
	// included, and did not close.
	CloseWaitIgnored Kind = "close-wait-ignored"
	// CloseWaitDrained: the program read the last data after the FIN had
	// come, so nothing is left to read, but no read ever returned 0.
	CloseWaitDrained Kind = "close-wait-drained"
	// CloseWaitSending: the peer shut down its side and the program keeps
	// sending.
	CloseWaitSending Kind = "close-wait-sending"
	// CloseWaitUnaccepted: the client went away before accept was called.
	CloseWaitUnaccepted Kind = "close-wait-unaccepted"
	// SynSent: no answer to the SYN.
	SynSent Kind = "syn-sent"
	// FinWait2HalfClosed: the program shut down its side, the peer never
	// finishes.
	FinWait2HalfClosed Kind = "fin-wait2-half-closed"
	// FinWait2Orphaned: the program closed, the peer never finishes.
	FinWait2Orphaned Kind = "fin-wait2-orphaned"
	// FinWait1: the FIN is not acknowledged.
	FinWait1 Kind = "fin-wait1"
	// FinWait1ZeroWindow: the FIN waits behind data that the peer has no
	// room for.
	FinWait1ZeroWindow Kind = "fin-wait1-zero-window"
	// Closing: both sides sent a FIN, ours is not acknowledged.
	Closing Kind = "closing"
	// LastAck: the peer closed first, then our FIN is not acknowledged.
	LastAck Kind = "last-ack"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		CloseWaitUnread, CloseWaitIgnored, CloseWaitDrained, CloseWaitSending, CloseWaitUnaccepted,
		SynSent, FinWait2HalfClosed, FinWait2Orphaned,
		FinWait1, FinWait1ZeroWindow, Closing, LastAck,
	}
}

// Family is an address family.
type Family string

// The address families. IPv4Mapped is an IPv6 socket that speaks IPv4.
const (
	IPv4       Family = "4"
	IPv6       Family = "6"
	IPv4Mapped Family = "mapped"
)

// Families returns all address families.
func Families() []Family { return []Family{IPv4, IPv6, IPv4Mapped} }

// Peers is what becomes of the other end of a stuck connection.
type Peers string

// What becomes of the other end.
const (
	// PeersGone leaves the stuck socket alone: the other end vanishes. The
	// stuck socket is the only finding.
	PeersGone Peers = "gone"
	// PeersHeld keeps the other end open; it is a finding of its own.
	PeersHeld Peers = "held"
	// PeersOrphaned lets the other end close and stay in FIN_WAIT2 as long
	// as the kernel keeps it; it is a finding of its own until then.
	PeersOrphaned Peers = "orphaned"
)

// End is a way to end stuck sockets.
type End string

// The ways to end. Which of them a kind knows is in ends.
const (
	EndClose       End = "close"       // the program closes the socket
	EndReset       End = "reset"       // the peer sends a reset
	EndEstablish   End = "establish"   // the peer answers the SYN after all
	EndRefuse      End = "refuse"      // the peer answers the SYN with a reset
	EndTimeout     End = "timeout"     // the kernel gives up
	EndCancel      End = "cancel"      // the program gives up connecting
	EndUnreachable End = "unreachable" // a router says host unreachable
	EndFinish      End = "finish"      // the peer finishes what it left undone
	EndDestroy     End = "destroy"     // SOCK_DESTROY, as ss -K does
)

// ends lists what each kind can end with; the first is the default.
var ends = map[Kind][]End{
	CloseWaitUnread:     {EndClose, EndReset, EndDestroy},
	CloseWaitIgnored:    {EndClose, EndReset, EndDestroy},
	CloseWaitDrained:    {EndClose, EndReset, EndDestroy},
	CloseWaitSending:    {EndClose, EndReset, EndDestroy},
	CloseWaitUnaccepted: {EndClose},
	SynSent:             {EndCancel, EndEstablish, EndRefuse, EndTimeout, EndUnreachable, EndDestroy},
	FinWait2HalfClosed:  {EndFinish, EndReset, EndDestroy},
	FinWait2Orphaned:    {EndFinish, EndReset, EndTimeout},
	FinWait1:            {EndFinish, EndReset},
	FinWait1ZeroWindow:  {EndFinish, EndReset},
	Closing:             {EndFinish, EndReset},
	LastAck:             {EndFinish, EndReset},
}

// Ends returns the ways in which a kind can end, its default first.
func Ends(k Kind) []End { return slices.Clone(ends[k]) }

// Spec says what to make. The zero value of a field is its default.
type Spec struct {
	Kind  Kind `json:"kind"`
	Count int  `json:"count"` // 0 is 1
	// Family is IPv4 by default.
	Family Family `json:"family,omitempty"`
	// Peers is PeersGone by default; kinds whose other end must live ignore
	// it.
	Peers Peers `json:"peers,omitempty"`
	// Payload is how many bytes the peer of the close-wait kinds sends before its
	// FIN. CloseWaitDrained needs one at least, and has it by default.
	Payload int `json:"payload,omitempty"`
	// Accepted makes the accepted end the stuck one; without it, it is the
	// connecting end. CloseWaitUnaccepted is always accepted.
	Accepted bool `json:"accepted,omitempty"`
	// Shutdown ends LastAck, FinWait1 and Closing with shutdown(2) and keeps
	// the descriptor, where close(2) would make orphans of them.
	Shutdown bool `json:"shutdown,omitempty"`
	// SynRetries is TCP_SYNCNT of the sockets in SynSent; 0 leaves the
	// namespace's tcp_syn_retries.
	SynRetries int `json:"syn_retries,omitempty"`
	// OrphanSeconds is TCP_LINGER2 of FinWait2Orphaned; 0 leaves the
	// namespace's tcp_fin_timeout.
	OrphanSeconds int `json:"orphan_seconds,omitempty"`
	// Rate spreads the making: sockets per second, 0 as fast as possible.
	Rate float64 `json:"rate,omitempty"`

	// NS is the network namespace of both ends, nil the caller's.
	NS *Namespace `json:"-"`
	// Lab is where SynSent sends its SYNs; nil is a deaf listener in NS.
	Lab *Lab `json:"-"`
}

func (s *Spec) setDefaults() error {
	if s.Count == 0 {
		s.Count = 1
	}
	if s.Family == "" {
		s.Family = IPv4
	}
	if s.Peers == "" {
		s.Peers = PeersGone
	}
	if s.Kind == CloseWaitDrained && s.Payload == 0 {
		s.Payload = 1 // without data there is no last read that meets the FIN
	}
	return s.check()
}

// Validate says what is wrong with a Spec before anything is made.
func (s Spec) Validate() error { return s.setDefaults() }

func (s *Spec) check() error {
	switch {
	case !slices.Contains(Kinds(), s.Kind):
		return fmt.Errorf("unknown kind %q, want one of %s", s.Kind, Join(Kinds()))
	case !slices.Contains(Families(), s.Family):
		return fmt.Errorf("unknown family %q, want one of %s", s.Family, Join(Families()))
	case !slices.Contains([]Peers{PeersGone, PeersHeld, PeersOrphaned}, s.Peers):
		return fmt.Errorf("unknown peers %q, want gone, held or orphaned", s.Peers)
	case s.Count < 0 || s.Payload < 0 || s.Rate < 0 || s.SynRetries < 0 || s.OrphanSeconds < 0:
		return fmt.Errorf("negative number in %+v", *s)
	case s.Payload > maxPayload:
		return fmt.Errorf("payload of %d bytes does not fit a fresh connection's receive window, want at most %d", s.Payload, maxPayload)
	case s.Lab != nil && s.Kind != SynSent:
		return fmt.Errorf("only %s knows what to do with a lab", SynSent)
	}
	return nil
}

// maxPayload is what a peer can send before the reader reads for the first
// time: half of the smallest default receive buffer.
const maxPayload = 32 << 10

// Join returns names separated by commas, for messages.
func Join[T ~string](names []T) string {
	s := make([]string, len(names))
	for i, n := range names {
		s[i] = string(n)
	}
	return strings.Join(s, ", ")
}
