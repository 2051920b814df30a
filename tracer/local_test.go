package tracer

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

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
