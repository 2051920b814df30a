// Package finding holds what the agent says: findings and the records beside
// them, with the names of the contract. It decides nothing.
package finding

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// SchemaVersion is the version of the record format.
const SchemaVersion = 1

// Kind is what is wrong with a socket.
type Kind uint8

// The kinds of findings.
const (
	KindNone Kind = iota
	SynSentStalled
	FinWait2Dangling
	CloseWaitSilent
	EstablishedStalled
	ClosingStalled
	KindCount
)

var kindNames = [KindCount]string{
	KindNone:           "none",
	SynSentStalled:     "syn_sent_stalled",
	FinWait2Dangling:   "fin_wait2_dangling",
	CloseWaitSilent:    "close_wait_silent",
	EstablishedStalled: "established_stalled",
	ClosingStalled:     "closing_stalled",
}

func (k Kind) String() string { return kindNames[k] }

// KindOf returns the kind a socket in this state can have, KindNone for a
// state that is never a finding.
func KindOf(s flow.State) Kind {
	switch s {
	case flow.StateSynSent:
		return SynSentStalled
	case flow.StateFinWait2:
		return FinWait2Dangling
	case flow.StateCloseWait:
		return CloseWaitSilent
	case flow.StateFinWait1, flow.StateClosing, flow.StateLastAck:
		return ClosingStalled
	case flow.StateEstablished:
		return EstablishedStalled
	}
	return KindNone
}

// Reason is why a socket is stuck.
type Reason uint8

// The reasons; which belong to which kind is in the contract's section 3.
const (
	ReasonNone Reason = iota
	NoReply
	DroppedLocally
	Unreachable
	ListenerOverflow
	HalfClosed
	Orphaned
	EOFIgnored
	EOFUnread
	StillSending
	Unaccepted
	PeerSilent
	ZeroWindow
	NotReading
	ReasonCount
)

var reasonNames = [ReasonCount]string{
	ReasonNone:       "none",
	NoReply:          "no_reply",
	DroppedLocally:   "dropped_locally",
	Unreachable:      "unreachable",
	ListenerOverflow: "listener_overflow",
	HalfClosed:       "half_closed",
	Orphaned:         "orphaned",
	EOFIgnored:       "eof_ignored",
	EOFUnread:        "eof_unread",
	StillSending:     "still_sending",
	Unaccepted:       "unaccepted",
	PeerSilent:       "peer_silent",
	ZeroWindow:       "zero_window",
	NotReading:       "not_reading",
}

func (r Reason) String() string { return reasonNames[r] }

// Outcome is how a finding ended.
type Outcome uint8

// The outcomes of resolved findings.
const (
	OutcomeNone Outcome = iota
	OutcomeEstablished
	OutcomeRefused
	OutcomeReset
	OutcomeTimedOut
	OutcomeUnreachable
	OutcomeCanceled
	OutcomePortExhausted
	OutcomeRecovered
	OutcomeClosed
	OutcomeDestroyed
	OutcomeUnknown
	OutcomeCount
)

var outcomeNames = [OutcomeCount]string{
	OutcomeNone:          "none",
	OutcomeEstablished:   "established",
	OutcomeRefused:       "refused",
	OutcomeReset:         "reset",
	OutcomeTimedOut:      "timed_out",
	OutcomeUnreachable:   "unreachable",
	OutcomeCanceled:      "canceled",
	OutcomePortExhausted: "port_exhausted",
	OutcomeRecovered:     "recovered",
	OutcomeClosed:        "closed",
	OutcomeDestroyed:     "destroyed",
	OutcomeUnknown:       "unknown",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Status is where a finding is in its life.
type Status uint8

// A finding opens once, may be updated, and resolves exactly once.
const (
	Open Status = iota
	Update
	Resolved
	StatusCount
)

var statusNames = [StatusCount]string{Open: "open", Update: "update", Resolved: "resolved"}

func (s Status) String() string { return statusNames[s] }

// Relation says how the named process stands to the socket.
type Relation uint8

// The relations of a process to a socket.
const (
	RelationNone       Relation = iota
	RelationHolder              // has a descriptor of it now
	RelationCloser              // had it last: closed or shut it down
	RelationConnector           // called connect; nobody holds it now
	RelationListener            // listens where the unaccepted connection waits
	RelationLastHolder          // had it last; the socket is open, but no process that is seen holds it
	RelationCount
)

var relationNames = [RelationCount]string{
	RelationNone:      "none",
	RelationHolder:    "holder",
	RelationCloser:    "closer",
	RelationConnector: "connector",
	RelationListener:  "listener",

	RelationLastHolder: "last_holder",
}

func (r Relation) String() string { return relationNames[r] }

// Process is the process a finding names.
type Process struct {
	flow.Task
	// Executable is the base name and Path the full path of the program;
	// both are empty where /proc does not tell or the pid was reused.
	Executable, Path string
	Relation         Relation
	// FD is the descriptor there, -1 if it has none.
	FD int
}

// Named reports whether anything is known of the process. Its pid need not be:
// one that was reused is left out, for it would name another process.
func (p *Process) Named() bool { return p.Known() || p.Relation != RelationNone }

// Owner is who has to do with a socket.
type Owner struct {
	// Process is the one that is named: of several holders the one with the
	// lowest pid.
	Process Process
	// Holders are all (pid, fd) pairs, ordered, at most MaxHolders of them.
	Holders []flow.Holder
	// Total counts all holders, also those left out.
	Total int
	// AcceptQueue and AcceptLimit are those of a listener.
	AcceptQueue, AcceptLimit uint32
	// Denied: not all processes could be looked into, so one that was not found may
	// hold it.
	Denied bool
}

// MaxHolders is how many holders a record lists.
const MaxHolders = 16

// Peer is the other end of a connection, where that is a socket on this host.
type Peer struct {
	State flow.State
	// Orphan: its process has closed it. Unaccepted: no process has it yet.
	Orphan, Unaccepted bool
	// Owner is who holds it; its process has RelationHolder or RelationNone.
	Owner Owner
	// CgroupID is that of the socket, 0 if it is not known.
	CgroupID uint64
	// Workload is nil where it is not known.
	Workload *Workload
}

// Listener is a listener on this host that takes no more connections.
type Listener struct {
	Process Process
	// Queue connections wait to be accepted where Limit may.
	Queue, Limit uint32
}

// GivesUp is what the kernel will do with a socket by itself.
type GivesUp struct {
	Known bool
	Never bool
	// In is the time from now until the kernel ends it; only if !Never.
	In time.Duration
}

// Finding is one record about one socket.
type Finding struct {
	ID      string
	Kind    Kind
	Reason  Reason
	Status  Status
	Outcome Outcome // only if Resolved

	// Time is when the record was written and Since when the socket entered
	// its state, wall clock. SinceExact is false where the socket is older
	// than the agent; then Since is the latest moment it can have been.
	Time       time.Time
	Since      time.Time
	SinceExact bool
	// Duration is how long it has been in the state, on the boot clock.
	Duration  time.Duration
	Threshold time.Duration

	// Sock holds identity and, if Live, the values of this moment; a
	// resolved finding's socket may be gone.
	Sock flow.Sock
	Live bool

	Owner Owner
	// Workload is nil where the owner, or the socket if it has none, is in no
	// container, or in none that is known yet.
	Workload *Workload
	// Stack is nil where stacks are turned off.
	Stack *Stack
	// Goroutines is nil where the program was not asked, or not yet.
	Goroutines *Goroutines
	// Peer is nil where the other end is not known to be on this host.
	Peer    *Peer
	GivesUp GivesUp
	// Listener is whose queue is full, nil if the reason is another one.
	Listener *Listener
	Message  string
}

// Transition is one state change, as trace prints it.
type Transition struct {
	Time time.Time
	flow.ID
	Role     flow.Role
	Old, New flow.State
	// Previous is how long the socket was in Old; negative if not known.
	Previous time.Duration
	// Task is the current task where the kernel was in its context (a
	// connect, a close); not known in softirq.
	Task flow.Task
	// Retransmit marks a retransmission instead of a change of state; Old
	// and New are then the same.
	Retransmit     bool
	Retransmits    uint8
	RetransmitKind flow.RetransmitKind
	// Outcome is how a connect failed, OutcomeNone for all other transitions.
	Outcome Outcome
}

// Loss says that kernel records were lost and the state was read again.
type Loss struct {
	Time time.Time
	// Where names the stage: "ring_buffer", "old_generation",
	// "recursion", "young_generation" …
	Where string
	Count uint64
	// Reread is true where the state of all sockets was read again since;
	// where that is not what follows, the message says what does.
	Reread  bool
	Message string
}
