package flow

import "time"

// WalkStates are what a walk over all connections looks for.
type WalkStates struct {
	States StateSet
	// TimeWait includes minisockets in TIME_WAIT proper; those that stand in
	// FIN_WAIT2 are part of that state.
	TimeWait bool
	// Waiting leaves out ESTABLISHED sockets where nothing waits to be
	// acknowledged, sent, read or accepted, and those that got an ACK within
	// Quiet and show no other sign of trouble.
	Waiting bool
	Quiet   time.Duration
	// Idle, if not 0, takes those too that have no keepalive and were idle for
	// this long.
	Idle time.Duration
}

// WriteQueues are what the ESTABLISHED sockets of a walk have written and not got
// acknowledged, added up.
type WriteQueues struct {
	// Sockets have something of it; Unsent and Unacked are bytes.
	Sockets, Unsent, Unacked uint64
	// Quiet is the longest time without an ACK while something waits, Busy the
	// longest that something has been waiting without a break or a change of the
	// peer's window.
	Quiet, Busy time.Duration
}

// Wanted says whose holders a walk over all descriptors looks for.
type Wanted struct {
	// Socks are addresses of sockets.
	Socks []uint64
	// Of are the sockets at these addresses, for who knows them by inode.
	Of []*Sock
	// Ports are local ports whose listeners are wanted.
	Ports []uint16
	// States, if not 0, wants every socket in one of them, whatever else is set.
	States StateSet
}
