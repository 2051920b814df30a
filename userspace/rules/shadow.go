package rules

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Contradicts returns which two conditions no socket can hold together; "" if there are
// none.
func (m *Match) Contradicts() string {
	switch {
	case apart(m.Ports, m.LocalPorts, m.PeerPorts, portsMeet):
		return "port is neither among local-port nor among peer-port"
	case familiesApart(m.LocalCIDRs, m.PeerCIDRs):
		return "local-cidr and peer-cidr are of different address families"
	case familiesApart(m.CIDRs, m.LocalCIDRs):
		return "cidr and local-cidr are of different address families"
	case familiesApart(m.CIDRs, m.PeerCIDRs):
		return "cidr and peer-cidr are of different address families"
	case apart(m.CIDRs, m.LocalCIDRs, m.PeerCIDRs, netip.Prefix.Overlaps):
		return "cidr overlaps neither local-cidr nor peer-cidr"
	}
	return ""
}

// apart: what must hold at one of both ends is excluded at each of them.
func apart[T any](either, local, peer []T, meet func(a, b T) bool) bool {
	excluded := func(values []T) bool {
		return len(values) > 0 && !slices.ContainsFunc(values, func(v T) bool {
			return slices.ContainsFunc(either, func(e T) bool { return meet(e, v) })
		})
	}
	return len(either) > 0 && excluded(local) && excluded(peer)
}

func portsMeet(a, b PortRange) bool { return a.First <= b.Last && b.First <= a.Last }

// familiesApart: both ends of a connection have addresses of one family.
func familiesApart(a, b []netip.Prefix) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, p := range a {
		if slices.ContainsFunc(b, func(q netip.Prefix) bool { return p.Addr().Is4() == q.Addr().Is4() }) {
			return false
		}
	}
	return true
}

// Covers reports whether every socket that other matches is matched by m too. It may
// say no where that is so, never yes where it is not.
func (m *Match) Covers(other *Match) bool {
	return implied(m.Kinds, other.Kinds, func(a, b finding.Kind) bool { return a == b }) &&
		implied(m.LocalPorts, other.LocalPorts, PortRange.covers) &&
		implied(m.PeerPorts, other.PeerPorts, PortRange.covers) &&
		either(m.Ports, PortRange.covers, other.Ports, other.LocalPorts, other.PeerPorts) &&
		implied(m.LocalCIDRs, other.LocalCIDRs, within) &&
		implied(m.PeerCIDRs, other.PeerCIDRs, within) &&
		either(m.CIDRs, within, other.CIDRs, other.LocalCIDRs, other.PeerCIDRs) &&
		implied(m.Executables, other.Executables, sameProgram) &&
		implied(m.Cgroups, other.Cgroups, Glob.covers) &&
		implied(m.Namespaces, other.Namespaces, Glob.covers) &&
		m.coversLabels(other)
}

// implied: nothing is asked, or each of the other's values is covered by one of these.
func implied[T any](asked, given []T, covers func(a, b T) bool) bool {
	return len(asked) == 0 || len(given) > 0 && !slices.ContainsFunc(given, func(g T) bool {
		return !slices.ContainsFunc(asked, func(a T) bool { return covers(a, g) })
	})
}

func either[T any](asked []T, covers func(a, b T) bool, given ...[]T) bool {
	return slices.ContainsFunc(given, func(g []T) bool { return implied(asked, g, covers) })
}

func (m *Match) coversLabels(other *Match) bool {
	for _, l := range m.Labels {
		if !slices.ContainsFunc(other.Labels, func(o Label) bool {
			return o.Key == l.Key && implied(l.Values, o.Values, Glob.covers)
		}) {
			return false
		}
	}
	return true
}

func (r PortRange) covers(other PortRange) bool {
	return r.First <= other.First && other.Last <= r.Last
}

func within(p, other netip.Prefix) bool { return p.Bits() <= other.Bits() && p.Contains(other.Addr()) }

// sameProgram: a base name covers paths that end in it.
func sameProgram(g, other Glob) bool {
	base := strings.LastIndexByte(string(other), '/')
	if strings.Contains(string(g), "/") || base < 0 {
		return strings.Contains(string(g), "/") == (base >= 0) && g.covers(other)
	}
	tail := other[base+1:]
	// A star may stand for slashes too, and the base name is then any.
	return g == "*" || !strings.Contains(string(tail), "*") && g.covers(tail)
}
