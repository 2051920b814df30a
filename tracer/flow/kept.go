package flow

import "time"

// Kept is what one run leaves to the next about a socket.
type Kept struct {
	// ID of a finding that is open; empty where it is not flagged, and then only
	// what follows up to Task is meant.
	FindingID string
	// Grouped: the finding has no records of its own, a group's count it.
	Grouped bool
	// Polled: Sock.Addr is what stands for an address without eBPF.
	Polled   bool
	Sock     ID
	State    State
	TimeWait bool
	Role     Role
	// Since is when it entered its state (boot clock), Exact whether that was seen.
	Since time.Duration
	Exact bool
	// Task connected, shut down or closed it, as captured in the kernel.
	Task Task

	// Reason by its name, because numbers are one version's.
	Reason string
	// Wall is the beginning as it was written.
	Wall time.Time
	// Threshold is what was too long for it when it opened.
	Threshold time.Duration
	// NextUpdate says when it is spoken of again (boot clock), Interval how long
	// after the last time.
	NextUpdate, Interval time.Duration
	// What must not have moved for an ESTABLISHED socket to be stuck still.
	SndUna, CopiedSeq, RcvNxt uint32
	Inode                     uint64
	// Owner is who was named last, as what (by its name), with descriptor, -1 for
	// none, and the path of its program.
	Owner    Task
	Relation string
	FD       int32
	Path     string
}
