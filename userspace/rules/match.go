package rules

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// socket tells from the socket alone whether a rule may match.
func (m *Match) socket(f *Facts) bool {
	if !m.MayBe(f.Kind) {
		return false
	}
	local, peer := f.Sock.Local, f.Sock.Peer
	return ports(m.LocalPorts, local.Port()) && ports(m.PeerPorts, peer.Port()) &&
		(ports(m.Ports, local.Port()) || ports(m.Ports, peer.Port())) &&
		cidrs(m.LocalCIDRs, local.Addr()) && cidrs(m.PeerCIDRs, peer.Addr()) &&
		(cidrs(m.CIDRs, local.Addr()) || cidrs(m.CIDRs, peer.Addr()))
}

// asksOwner reports whether a rule asks for more than the socket.
func (m *Match) asksOwner() bool {
	return len(m.Executables)+len(m.Cgroups)+len(m.Namespaces)+len(m.Labels) > 0
}

// owner tells whether what a rule asks about the owner holds.
func (m *Match) owner(f *Facts) bool {
	if len(m.Executables) > 0 && (f.Owner == nil || !m.executable(f.Owner.Process.Path)) {
		return false
	}
	if !m.cgroup(f) {
		return false
	}
	if len(m.Namespaces)+len(m.Labels) == 0 {
		return true
	}
	w := f.Workload
	return w != nil && globs(m.Namespaces, w.Namespace) && m.labels(w.Labels)
}

func (m *Match) cgroup(f *Facts) bool {
	return len(m.Cgroups) == 0 || slices.ContainsFunc(f.Cgroups, func(path string) bool { return globs(m.Cgroups, path) }) ||
		f.Workload != nil && globs(m.Cgroups, f.Workload.Cgroup)
}

func (m *Match) executable(file string) bool {
	return file != "" && slices.ContainsFunc(m.Executables, func(g Glob) bool {
		if strings.Contains(string(g), "/") {
			return g.Matches(file)
		}
		return g.Matches(path.Base(file))
	})
}

func (m *Match) labels(have map[string]string) bool {
	for _, l := range m.Labels {
		value, ok := have[l.Key]
		if !ok || !slices.ContainsFunc(l.Values, func(g Glob) bool { return g.Matches(value) }) {
			return false
		}
	}
	return true
}

// ports, cidrs and globs hold where nothing is asked. Port 0 and no text mean that it
// is not known.
func ports(ranges []PortRange, port uint16) bool {
	return len(ranges) == 0 || port != 0 && slices.ContainsFunc(ranges, func(r PortRange) bool {
		return r.First <= port && port <= r.Last
	})
}

func cidrs(prefixes []netip.Prefix, addr netip.Addr) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		return p.Contains(addr.WithZone(""))
	})
}

func globs(patterns []Glob, text string) bool {
	return len(patterns) == 0 || text != "" && slices.ContainsFunc(patterns, func(g Glob) bool { return g.Matches(text) })
}

// MayBe reports whether a rule can match a socket of this kind.
func (m *Match) MayBe(k finding.Kind) bool { return len(m.Kinds) == 0 || slices.Contains(m.Kinds, k) }
