package tracer

import (
	"fmt"
	"math/bits"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// peerWords is PEER_WORDS of bpf/peer.h.
const peerWords = 2048

// peerFilter has a bit for each pair of ports that is wanted.
type peerFilter [peerWords]uint32

// add lets a socket pass that faces one: its local port is the peer's.
func (f *peerFilter) add(id *flow.ID) {
	// skc_portpair: the peer's port in network order, then the local one in the
	// host's (include/net/sock.h); the object is little endian only.
	pair := uint32(bits.ReverseBytes16(id.Local.Port())) | uint32(id.Peer.Port())<<16
	bit := pair * 2654435769 >> 16
	f[bit>>5] |= 1 << (bit & 31)
}

// Facing calls fn for every connection on the host, in any network namespace,
// whose ports are those of one of socks the other way round, and for a few others.
// It is one walk over all connections, whatever the number of socks. The socket is
// only valid during the call.
func (t *Tracer) Facing(socks []*flow.Sock, fn func(*flow.Sock)) (err error) {
	var filter peerFilter
	for _, s := range socks {
		filter.add(&s.ID)
	}
	if err := t.objs.PeerFilter.Set(filter); err != nil {
		return fmt.Errorf("setting peer_filter: %w", err)
	}
	if err := t.objs.WalkPeers.Set(uint32(1)); err != nil {
		return fmt.Errorf("setting walk_peers: %w", err)
	}
	// Another walk may stand halfway.
	next := t.walkNext
	t.facing = true
	defer func() {
		t.walkNext, t.facing = next, false
		if off := t.objs.WalkPeers.Set(uint32(0)); off != nil && err == nil {
			err = fmt.Errorf("setting walk_peers: %w", off)
		}
	}()
	return t.Walk(flow.WalkStates{States: 1<<flow.StateMax - 1, TimeWait: true}, fn)
}
