package flow

import (
	"net/netip"
	"time"
)

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
	// Pairs are the same by service and peer, in no order; LeftOut counts sockets
	// whose pair found no room.
	Pairs   []WriteQueue
	LeftOut uint64
}

// Pair is a service and who talks to it: the port of the end that connected is 0.
type Pair struct {
	Local, Peer netip.AddrPort
	NetNS       uint32
}

// Client reports whether the end on this host connected to the service.
func (p Pair) Client() bool { return p.Local.Port() == 0 }

// Has reports whether a connection belongs to the pair.
func (p Pair) Has(id *ID) bool {
	return p.NetNS == id.NetNS && p.Local.Addr() == id.Local.Addr() && p.Peer.Addr() == id.Peer.Addr() &&
		(p.Client() || p.Local.Port() == id.Local.Port()) && (!p.Client() || p.Peer.Port() == id.Peer.Port())
}

// WriteQueue is what the ESTABLISHED sockets of a pair have written and not got
// acknowledged.
type WriteQueue struct {
	Pair
	// Sockets have something of it; Unsent and Unacked are bytes.
	Sockets, Unsent, Unacked uint64
	// Undrained is the longest time that nothing of it was acknowledged.
	Undrained time.Duration
	// Sample is one of these sockets, each as likely.
	Sample Key
}

// Pending is the number of bytes that wait.
func (q *WriteQueue) Pending() uint64 { return q.Unsent + q.Unacked }

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
