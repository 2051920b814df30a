package jsonline

import (
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// streamSlots is how many connections a Stream knows; a power of two.
const streamSlots = 1024

// Stream appends transitions like an Encoder, for less: what it wrote of a
// connection, the Community ID above all, it keeps for the connection's next line,
// and what it wrote of a second and of a pair of states for the next ones. One
// goroutine may use it.
type Stream struct {
	encoder *Encoder
	parts   parts
	slots   [streamSlots]streamSlot
	heads   [flow.StateMax][flow.StateMax][]byte

	// second is the one whose text stands in clock, up to the fraction.
	second int64
	clock  []byte
}

// streamSlot is the end of a connection that was written last with its ports.
type streamSlot struct {
	local, peer netip.AddrPort
	text        []byte

	cookie uint64
	netNS  uint32
	socket []byte
}

// Stream returns a Stream of the same lines.
func (e *Encoder) Stream() *Stream {
	s := &Stream{encoder: e}
	s.parts = parts{time: s.time, head: s.head, addresses: s.addresses, socket: s.socket}
	return s
}

// AppendTransition does what the Encoder's does.
func (s *Stream) AppendTransition(dst []byte, t *finding.Transition) []byte {
	return s.encoder.appendTransition(dst, t, &s.parts)
}

// fraction is what follows the second.
const fraction = `.000000000Z"`

// lastSecond is that of the year 9999: what is later has a text of its own.
const lastSecond = 253402300799

func (s *Stream) time(dst []byte, t time.Time) []byte {
	second := t.Unix()
	if second < 0 || second > lastSecond {
		return appendFirst(dst, t)
	}
	if s.clock == nil || second != s.second {
		s.second = second
		s.clock = appendFirst(s.clock[:0], t)
		s.clock = s.clock[:len(s.clock)-len(fraction)]
	}
	dst = appendDigits(append(dst, s.clock...), uint(t.Nanosecond()), fraction[:len(fraction)-2])
	return append(dst, fraction[len(fraction)-2:]...)
}

func (s *Stream) head(dst []byte, t *finding.Transition) []byte {
	if t.Retransmit || t.Old >= flow.StateMax || t.New >= flow.StateMax {
		return appendHead(dst, t)
	}
	head := &s.heads[t.Old][t.New]
	if *head == nil {
		*head = appendHead(nil, t)
	}
	return append(dst, *head...)
}

// slot returns where a connection's texts are. The two ends of one on the same host
// have neighbouring slots.
func (s *Stream) slot(id *flow.ID) *streamSlot {
	local, peer := uint(id.Local.Port()), uint(id.Peer.Port())
	return &s.slots[(2*(local^peer)+local&1)%streamSlots]
}

func (s *Stream) addresses(dst []byte, id *flow.ID) []byte {
	slot := s.slot(id)
	if slot.local == id.Local && slot.peer == id.Peer {
		return append(dst, slot.text...)
	}
	begin := len(dst)
	dst = appendAddresses(dst, id)
	slot.local, slot.peer = id.Local, id.Peer
	slot.text = append(slot.text[:0], dst[begin:]...)
	return dst
}

func (s *Stream) socket(dst []byte, id *flow.ID) []byte {
	slot := s.slot(id)
	if slot.cookie == id.Cookie && slot.netNS == id.NetNS {
		return append(dst, slot.socket...)
	}
	begin := len(dst)
	dst = appendIdentity(dst, id)
	slot.cookie, slot.netNS = id.Cookie, id.NetNS
	slot.socket = append(slot.socket[:0], dst[begin:]...)
	return dst
}
