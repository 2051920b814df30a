// Package peer finds the other end of a connection, where that is a socket on
// this host too: on loopback, or in another network namespace behind a veth.
package peer

import (
	"fmt"
	"net/netip"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Source walks all connections of the host.
type Source interface {
	// Facing calls fn for every connection whose ports are those of one of
	// ids the other way round, and may call it for others.
	Facing(ids []flow.ID, fn func(*flow.Sock)) error
}

// ends are the local and the peer address of a socket.
type ends [2]netip.AddrPort

// search is one look for the other ends of some sockets.
type search struct {
	socks []*flow.Sock
	// asked are the sockets by the two addresses their other end has.
	asked map[ends][]int
	// found are the other ends; many marks those of which there is another.
	found []*flow.Sock
	many  []bool
}

// Find looks for the other ends of all socks with one walk, or with none if none
// of them can have one. The answer has the other end of each, nil where there is
// none on this host, or more than one socket it could be.
func Find(source Source, socks []*flow.Sock) ([]*flow.Sock, error) {
	s := search{
		socks: socks, asked: make(map[ends][]int),
		found: make([]*flow.Sock, len(socks)), many: make([]bool, len(socks)),
	}
	var ids []flow.ID
	for i, sock := range socks {
		if connected(sock) {
			at := ends{sock.Peer, sock.Local}
			s.asked[at] = append(s.asked[at], i)
			ids = append(ids, sock.ID)
		}
	}
	if len(ids) == 0 {
		return s.found, nil
	}
	if err := source.Facing(ids, s.offer); err != nil {
		return nil, fmt.Errorf("looking for other ends: %w", err)
	}
	for i, many := range s.many {
		if many {
			s.found[i] = nil
		}
	}
	return s.found, nil
}

func (s *search) offer(c *flow.Sock) {
	for _, i := range s.asked[ends{c.Local, c.Peer}] {
		switch have := s.found[i]; {
		case !Joined(s.socks[i], c):
		case have == nil:
			end := *c
			s.found[i] = &end
		case have.Addr != c.Addr:
			s.many[i] = true
		}
	}
}

// connected reports whether a socket can have another end. One that is still
// connecting has none yet: what has its addresses the other way round is left
// over from a connection before.
func connected(s *flow.Sock) bool {
	switch s.State {
	case flow.StateSynSent, flow.StateListen, flow.StateClose, flow.StateUnknown:
		return false
	}
	return !s.Gone && s.Local.Port() != 0 && s.Peer.Port() != 0
}

// Joined reports whether s and c are the two ends of one connection. Addresses
// alone do not say so: the same ones are used in several namespaces, on loopback
// by all of them. So sequence numbers must fit too, as no two connections' do
// but by a chance of less than one in a thousand.
func Joined(s, c *flow.Sock) bool {
	if !connected(s) || !connected(c) || s.Addr == c.Addr {
		return false
	}
	if s.Local != c.Peer || s.Peer != c.Local {
		return false
	}
	if s.NetNS != c.NetNS && (s.Local.Addr().IsLoopback() || s.Peer.Addr().IsLoopback()) {
		return false
	}
	return awaits(s, c) && awaits(c, s)
}

// slack is by how many bytes the numbers of two ends may be apart, because they
// were not read at the same moment: 50 ms at 10 Gbit/s.
const slack = 1 << 26

// awaits reports whether what to expects next is what from has sent: between
// its first unacknowledged byte and its next one.
func awaits(to, from *flow.Sock) bool {
	return int32(to.RcvNxt-from.SndUna) >= -slack && int32(from.SndNxt-to.RcvNxt) >= -slack
}

// Describe tells of an other end what a finding says. holder is who holds it, as
// found by a walk over all descriptors.
func Describe(end *flow.Sock, holder *finding.Owner) *finding.Peer {
	p := &finding.Peer{
		State:      end.State,
		Orphan:     end.Dead,
		Unaccepted: detect.Unaccepted(end),
		Owner:      finding.Owner{Process: finding.Process{FD: -1}},
	}
	if end.HasSocket && holder.Process.Relation == finding.RelationHolder {
		p.Owner = *holder
	}
	return p
}
