// Package peer finds the other end of a connection, where that is a socket on
// this host too: on loopback, or in another network namespace behind a veth.
package peer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Source walks all connections of the host.
type Source interface {
	// Facing calls fn for every connection whose ports are those of one of
	// socks the other way round, and may call it for others.
	Facing(socks []*flow.Sock, fn func(*flow.Sock)) error
}

// search is one look for the other ends of some sockets. Thousands may be asked
// for at once, so it takes little memory for each.
type search struct {
	socks []*flow.Sock
	// order are the places of those that can have another end, sorted by their
	// addresses.
	order []int
	// found are the other ends.
	found []*flow.Sock
	fits  []fit
}

// fit is how well the other end that was found fits.
type fit struct {
	// exact: the numbers agree as they were read. many: so do another's.
	exact, many bool
}

// Find looks for the other ends of all socks with one walk, or with none if none
// of them can have one. The answer has the other end of each, nil where there is
// none on this host, or more than one socket it could be.
func Find(source Source, socks []*flow.Sock) ([]*flow.Sock, error) {
	s := search{socks: socks, found: make([]*flow.Sock, len(socks)), fits: make([]fit, len(socks))}
	for i, sock := range socks {
		if connected(sock) {
			s.order = append(s.order, i)
		}
	}
	if len(s.order) == 0 {
		return s.found, nil
	}
	slices.SortFunc(s.order, func(a, b int) int {
		return compare(socks[a].Local, socks[a].Peer, socks[b])
	})
	if err := source.Facing(socks, s.offer); err != nil {
		return nil, fmt.Errorf("looking for other ends: %w", err)
	}
	for i, fit := range s.fits {
		if fit.many {
			s.found[i] = nil
		}
	}
	return s.found, nil
}

// compare orders sockets by their addresses.
func compare(local, peer netip.AddrPort, s *flow.Sock) int {
	return cmp.Or(local.Compare(s.Local), peer.Compare(s.Peer))
}

// offer takes what may be the other end of some.
func (s *search) offer(c *flow.Sock) {
	first, _ := slices.BinarySearchFunc(s.order, c, func(i int, c *flow.Sock) int {
		return -compare(c.Peer, c.Local, s.socks[i])
	})
	for _, i := range s.order[first:] {
		if compare(c.Peer, c.Local, s.socks[i]) != 0 {
			return
		}
		s.take(i, c)
	}
}

// take notes c as the other end of the socket at i, if it is.
func (s *search) take(i int, c *flow.Sock) {
	apart, ok := distance(s.socks[i], c)
	if !ok || apart > moving {
		return
	}
	have, exact := s.found[i], apart == 0
	switch {
	case have != nil && have.Addr == c.Addr:
	case have == nil || (exact && !s.fits[i].exact):
		end := *c
		s.found[i], s.fits[i] = &end, fit{exact: exact}
	case exact == s.fits[i].exact:
		s.fits[i].many = true
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

// The number of bytes by which two ends may be apart because they were not read
// at the same moment: 50 ms at 10 Gbit/s between two walks, 50 us in one reading.
const (
	moving   = 1 << 26
	together = 1 << 16
)

// Joined reports whether s and c, read at the same moment, are the two ends of one
// connection.
func Joined(s, c *flow.Sock) bool {
	apart, ok := distance(s, c)
	return ok && apart <= together
}

// distance says by how many bytes the sequence numbers of s and c fail to meet;
// false if they cannot be the two ends of one connection. Addresses alone do not
// say so: the same ones are used in several namespaces, on loopback by all of
// them. Numbers do, if they are compared narrowly: connections of the same
// addresses begin with numbers that are 16 MB a second apart
// (net/core/secure_seq.c, seq_scale), so those of one moment are close.
func distance(s, c *flow.Sock) (bytes uint32, ok bool) {
	if !connected(s) || !connected(c) || s.Addr == c.Addr {
		return 0, false
	}
	if s.Local != c.Peer || s.Peer != c.Local {
		return 0, false
	}
	if s.NetNS != c.NetNS && (s.Local.Addr().IsLoopback() || s.Peer.Addr().IsLoopback()) {
		return 0, false
	}
	return max(outside(s, c), outside(c, s)), true
}

// outside is how far what to expects next is from what from has sent and not got
// acknowledged: 0 between its first unacknowledged byte and its next one.
func outside(to, from *flow.Sock) uint32 {
	if to.RcvNxt-from.SndUna <= from.SndNxt-from.SndUna {
		return 0
	}
	return min(from.SndUna-to.RcvNxt, to.RcvNxt-from.SndNxt)
}

// Describe tells of an other end what a finding says. holder is who holds it, as
// found by a walk over all descriptors.
func Describe(end *flow.Sock, holder *finding.Owner) *finding.Peer {
	p := &finding.Peer{
		State:      end.State,
		Orphan:     end.Dead,
		Unaccepted: detect.Unaccepted(end),
		Owner:      finding.Owner{Process: finding.Process{FD: -1}},
		CgroupID:   end.CgroupID,
	}
	if end.HasSocket && holder.Process.Relation == finding.RelationHolder {
		p.Owner = *holder
	}
	return p
}
