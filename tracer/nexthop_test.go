package tracer

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// deadEnd is an Ethernet device of the namespace at whose other end nobody answers.
func deadEnd(t *testing.T) netlink.Link {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Skipf("this kernel has no veth: %v", err)
	}
	link, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"198.18.7.1/24", "fd18:7::1/64"} {
		p := netip.MustParsePrefix(prefix)
		a := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}}
		if err := netlink.AddrAdd(link, a); err != nil {
			t.Fatalf("adding %v: %v", p, err)
		}
	}
	for _, name := range []string{"near", "far"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatalf("setting %s up: %v", name, err)
		}
	}
	return link
}

func TestSilentNextHop(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	requireCauses(t, tr)
	link := deadEnd(t)
	routes := map[string]string{"203.0.113.0/24": "198.18.7.9", "2001:db8:7::/48": "fd18:7::9"}
	for dst, via := range routes {
		_, to, err := net.ParseCIDR(dst)
		if err != nil {
			t.Fatal(err)
		}
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: net.ParseIP(via)}
		if err := netlink.RouteAdd(r); err != nil {
			t.Fatalf("adding a route to %s: %v", dst, err)
		}
	}
	tests := []struct {
		name   string
		family family
		to     string
	}{
		{"on the link", ipv4, "198.18.7.2:80"},
		{"on the link, IPv6", ipv6, "[fd18:7::2]:80"},
		{"on the link, mapped", mapped, "[::ffff:198.18.7.3]:80"},
		{"behind a router", ipv4, "203.0.113.1:80"},
		{"behind a router, IPv6", ipv6, "[2001:db8:7::1]:80"},
	}
	for _, tt := range tests {
		s := begin(t, tt.family, netip.MustParseAddrPort(tt.to))
		id := find(t, tr, s.cookie).ID
		eventually(t, tt.name+": a silent next hop", func() bool { return syn(t, tr, id).NextHopSilent })
		// After the first time-out an IPv6 socket has no route any more.
		eventually(t, tt.name+": a time-out", func() bool { return s.info().Retransmits > 0 })
		if !syn(t, tr, id).NextHopSilent {
			t.Errorf("%s: not silent any more after the first time-out", tt.name)
		}
		s.close()
	}
	n := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP("198.18.7.44").To4(),
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
	if err := netlink.NeighSet(n); err != nil {
		t.Fatal(err)
	}
	s := begin(t, ipv4, netip.MustParseAddrPort("198.18.7.44:80"))
	if got := syn(t, tr, find(t, tr, s.cookie).ID); got.NextHopSilent {
		t.Errorf("a neighbour that is known: %+v", got)
	}
}
