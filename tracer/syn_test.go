package tracer

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// loopbackIndex is the number of every namespace's loopback device.
const loopbackIndex = 1

// closedQueue gives the loopback device a queue that has room for nothing, which
// any kernel can: every packet is dropped on its way out.
func closedQueue(t *testing.T) {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: loopbackIndex, Handle: 1 << 16, Parent: netlink.HANDLE_ROOT})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")))
	limit := make([]byte, 4) // struct tc_fifo_qopt
	req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, limit))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatalf("adding a pfifo: %v", err)
	}
}

func openQueue(t *testing.T) {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_DELQDISC, unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: loopbackIndex, Parent: netlink.HANDLE_ROOT})
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatalf("removing the pfifo: %v", err)
	}
}

func requireCauses(t *testing.T, tr *Tracer) {
	t.Helper()
	if err := tr.SYNCauses(); err != nil {
		t.Fatalf("the causes of SYNs cannot be told: %+v", verifierLog(err))
	}
}

// syn reads what is known of a connect.
func syn(t *testing.T, tr *Tracer, id flow.ID) flow.SYN {
	t.Helper()
	s := &flow.Sock{ID: id}
	if err := tr.Read([]*flow.Sock{s}, false); err != nil {
		t.Fatal(err)
	}
	if s.Gone {
		t.Fatal("the connect is gone")
	}
	return s.SYN
}

// The first retransmission comes a second after the SYN, those after a drop by a
// queue each half second.
func TestDroppedSYN(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	requireCauses(t, tr)
	for _, f := range families {
		dropped(t, tr, ns, f)
	}
}

// dropped is no subtest, because those are not in the namespace.
func dropped(t *testing.T, tr *Tracer, ns *namespace, f family) {
	t.Helper()
	to := silent(t, f)
	closedQueue(t)
	s := begin(t, f, to)
	defer s.close()
	id := find(t, tr, s.cookie).ID
	if err := tr.WatchSYN(true); err != nil {
		t.Fatal(err)
	}
	var drop flow.Drop
	eventually(t, "a drop", func() bool {
		got := syn(t, tr, id)
		if got.Drop != nil {
			drop = *got.Drop
		}
		return got.Drop != nil
	})
	t.Logf("%s: dropped: %+v", f.name, drop)
	if drop.NetNS != ns.inode {
		t.Errorf("%s: in namespace %d, want %d", f.name, drop.NetNS, ns.inode)
	}
	if drop.Location == "" {
		t.Errorf("%s: no location, although root may read /proc/kallsyms", f.name)
	}
	if drop.Reason != "" && (drop.Reason != "QDISC_DROP" && drop.Reason != "QDISC_OVERLIMIT" || drop.Hook != "qdisc") {
		t.Errorf("%s: reason %s, hook %s", f.name, drop.Reason, drop.Hook)
	}
	// It leaves now, and is not answered.
	openQueue(t)
	eventually(t, "a SYN that is not dropped", func() bool {
		got := syn(t, tr, id)
		return got.Drop == nil && got.DropPast
	})
	if err := tr.WatchSYN(false); err != nil {
		t.Fatal(err)
	}
}

// What nobody drops is not told as dropped, while others' is.
func TestUndroppedSYN(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	requireCauses(t, tr)
	if err := tr.WatchSYN(true); err != nil {
		t.Fatal(err)
	}
	s := begin(t, ipv4, silent(t, ipv4))
	id := find(t, tr, s.cookie).ID
	eventually(t, "a retransmission", func() bool { return s.info().Total_retrans >= 1 })
	if got := syn(t, tr, id); got != (flow.SYN{}) {
		t.Errorf("a SYN that a full queue swallows: %+v", got)
	}
	if stats, err := tr.Stats(); err != nil || stats.SYNDrops != 0 {
		t.Errorf("%d drops found no room (%v)", stats.SYNDrops, err)
	}
}

func TestWatchSYNTwice(t *testing.T) {
	tr := load(t, Options{Watch: stuckStates})
	for _, on := range []bool{false, true, true, false, false, true} {
		if err := tr.WatchSYN(on); err != nil {
			t.Fatalf("%v: %v", on, err)
		}
	}
	// Closing the Tracer ends it.
}

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

func TestHasAddress(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	requireCauses(t, tr)
	lo, err := netlink.LinkByIndex(loopbackIndex)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"198.18.8.1", "fd18:8::1"} {
		ip := netip.MustParseAddr(addr)
		a := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen()),
		}}
		if err := netlink.AddrAdd(lo, a); err != nil {
			t.Fatal(err)
		}
	}
	inside := find(t, tr, begin(t, ipv4, silent(t, ipv4)).cookie).Key
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "198.18.8.1": true, "fd18:8::1": true,
		"127.0.0.2": false, "198.18.8.2": false, "fd18:8::2": false, "0.0.0.0": false, "::": false, "::ffff:198.18.8.1": true,
	} {
		got, err := tr.HasAddress(inside, netip.MustParseAddr(addr))
		if err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", addr, got, err, want)
		}
	}
	newNamespace(t)
	outside := find(t, tr, begin(t, ipv4, silent(t, ipv4)).cookie).Key
	if got, err := tr.HasAddress(outside, netip.MustParseAddr("198.18.8.1")); err != nil || got {
		t.Errorf("another namespace: %v %v", got, err)
	}
}

// Go's listeners are Multipath TCP ones, whose queue is that of the socket behind.
func TestQueueOfMultipathListener(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("no Multipath TCP: %v", err)
	}
	l := wrap(t, fd)
	if err := unix.Bind(l.fd, sockaddr(ipv4.bind)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l.fd, 5); err != nil {
		t.Fatal(err)
	}
	newSocket(t, ipv4).connect(l.local())
	newSocket(t, ipv4).connect(l.local())
	eventually(t, "two connections that wait, of five", func() bool {
		found := false
		err := tr.Holders(flow.Wanted{Ports: []uint16{l.local().Port()}}, func(h *flow.Held) {
			found = found || h.FD == uint32(fd) && h.AcceptQueue == 2 && h.AcceptLimit == 5
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	})
}

// The readers of kernel pointers take any: an address may be freed at any time.
func TestCausesOfNothing(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	requireCauses(t, tr)
	random := binary.LittleEndian.Uint64([]byte{1, 2, 3, 4, 5, 6, 0xff, 0xff})
	for _, addr := range []uint64{0, 1, 1 << 63, random, 1<<64 - 1} {
		s := &flow.Sock{ID: flow.ID{Key: flow.Key{Addr: addr}}, State: flow.StateSynSent}
		if err := tr.Causes([]*flow.Sock{s}); err != nil || s.SYN != (flow.SYN{}) {
			t.Errorf("%#x: %+v %v", addr, s.SYN, err)
		}
		if has, err := tr.HasAddress(s.Key, netip.MustParseAddr("127.0.0.1")); err != nil || has {
			t.Errorf("%#x has 127.0.0.1: %v", addr, err)
		}
	}
}
