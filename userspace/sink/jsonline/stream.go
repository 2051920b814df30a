package jsonline

import (
	"net/netip"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// streamSlots is how many connections a Stream knows; a power of two.
const streamSlots = 1024

// Stream appends transitions like an Encoder, for less: what it wrote of a
// connection's addresses, the Community ID above all, it keeps for the
// connection's next line. One goroutine may use it.
type Stream struct {
	encoder *Encoder
	slots   [streamSlots]streamSlot
	append  func([]byte, *flow.ID) []byte
}

// streamSlot is the end of a connection that was written last with its ports.
type streamSlot struct {
	local, peer netip.AddrPort
	text        []byte
}

// Stream returns a Stream of the same lines.
func (e *Encoder) Stream() *Stream {
	s := &Stream{encoder: e}
	s.append = s.addresses
	return s
}

// AppendTransition does what the Encoder's does.
func (s *Stream) AppendTransition(dst []byte, t *finding.Transition) []byte {
	return s.encoder.appendTransition(dst, t, s.append)
}

func (s *Stream) addresses(dst []byte, id *flow.ID) []byte {
	// The two ends of a connection on one host have neighbouring slots.
	local, peer := uint(id.Local.Port()), uint(id.Peer.Port())
	slot := &s.slots[(2*(local^peer)+local&1)%streamSlots]
	if slot.local == id.Local && slot.peer == id.Peer {
		return append(dst, slot.text...)
	}
	begin := len(dst)
	dst = appendAddresses(dst, id)
	slot.local, slot.peer = id.Local, id.Peer
	slot.text = append(slot.text[:0], dst[begin:]...)
	return dst
}
