package flow

import "time"

// EventKind tells what a kernel record is about.
type EventKind uint8

// The kernel's records; the numbers are those of bpf/event.h.
const (
	EventNone EventKind = iota
	// EventPromoted: a socket is still in a watched state after a tick. Only
	// the key, New, Since and Task are set; read the socket for the rest.
	EventPromoted
	// EventTransition: a promoted socket (under trace: any) changed its state.
	EventTransition
	// EventRetransmit: the same for a retransmission; Old equals New.
	EventRetransmit
	EventKindCount
)

// String returns the kind's name as used in metrics.
func (k EventKind) String() string {
	switch k {
	case EventPromoted:
		return "promoted"
	case EventTransition:
		return "transition"
	case EventRetransmit:
		return "retransmit"
	case EventNone, EventKindCount:
	}
	return "unknown"
}

// Event is one kernel record. Times are CLOCK_BOOTTIME.
type Event struct {
	Kind EventKind
	Time time.Duration
	// Since is when the promoted or the left state was entered, 0 if not known.
	Since time.Duration
	ID
	// Successor is the address of the timewait minisocket that stands in for
	// a closed FIN_WAIT2 socket, 0 if there is none.
	Successor    uint64
	Task         Task
	Old, New     State
	TimeWait     bool
	Orphan       bool
	Untracked    bool
	Err, SoftErr int32
	Retransmits  uint8
	// Retransmit is meant under trace, for retransmissions.
	Retransmit RetransmitKind
}

// Losses counts, since the start, what the kernel side could not do. Each
// makes events hints only: the state must be read again.
type Losses struct {
	// RingFull counts events that found no room in the ring buffer.
	RingFull uint64
	// PromotedFull counts sockets that found no room in the old generation:
	// known, but without events from then on.
	PromotedFull uint64
	// Recursion counts transitions that the kernel did not show, because
	// they interrupted another one on the same CPU (6.1 and later).
	Recursion uint64
	// WalkCut counts hash chains that a walk did not follow to the end.
	WalkCut uint64
	// SYNDrops counts dropped SYNs that found no room to be noted.
	SYNDrops uint64
}

// Stats counts the kernel side's work since the start.
type Stats struct {
	Losses
	Promoted     uint64 // sockets that outlived the young generation
	Stale        uint64 // entries found to belong to a socket that is gone
	YoungOverrun uint64 // slots looked at early because their ring came round
	Nested       uint64 // transitions inside a transition
	Tracked      uint64 // sockets in the old generation now
	// StallUnsaid counts retransmitting ESTABLISHED sockets that were left to
	// the next walk, because events were filling the ring buffer.
	StallUnsaid uint64
	// Retransmits counts those of all sockets by kind; not under trace.
	Retransmits [RetransmitKinds]uint64
	// Stacks counts distinct user stacks, StacksRefused those that were not taken
	// for want of budget, StacksLost those that found no room.
	Stacks, StacksRefused, StacksLost uint64
	// Hidden counts transitions that the kernel did not show while the second
	// program was not attached. Among them may be entries into CLOSE_WAIT, which
	// a walk finds; no record is lost with them.
	Hidden uint64
	// Refused counts programs that the kernel did not load or attach after the start;
	// what they are for is lacking.
	Refused uint64
}
