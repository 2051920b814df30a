package workload

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lab is a silent network: a veth pair from a namespace to another one made
// for it. The target addresses have a fixed neighbour entry, so that packets
// go out to the far end, which does not own the addresses and does not
// forward: they disappear there without an answer. No firewall is needed.
type Lab struct {
	near *Namespace
	far  *Namespace
	link string
	net  uint16 // which /24 of 198.18.0.0/15, the benchmark range of RFC 2544
	// listeners of the far end, waiting for the target addresses to appear.
	lis []*listener
}

var labCount atomic.Uint32

// NewLab connects near with a silent far end.
func NewLab(near *Namespace) (*Lab, error) {
	far, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	n := labCount.Add(1)
	l := &Lab{
		near: near, far: far,
		link: fmt.Sprintf("limbo%d-%d", os.Getpid()%1_000_000, n%100),
		net:  uint16(os.Getpid()*7+int(n)*37) & 0x1ff,
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("building a silent network: %w", err), l.Close())
	}
	return l, nil
}

// Target returns the silent address of a family.
func (l *Lab) Target(f Family) netip.Addr { return l.addr(f, 2) }

func (l *Lab) addr(f Family, host byte) netip.Addr {
	if f == IPv6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x18, 2: byte(l.net >> 8), 3: byte(l.net), 15: host})
	}
	return netip.AddrFrom4([4]byte{198, 18 + byte(l.net>>8), byte(l.net), host})
}

func ipNet(a netip.Addr) *net.IPNet {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

func (l *Lab) build() error {
	// The pair is made from the far side: only the link's name in the near
	// namespace has to be unique on the host.
	nearNS, err := l.near.handle()
	if err != nil {
		return err
	}
	defer closeAll(nearNS)
	// New namespaces inherit IPv4 forwarding from the host; a router would
	// answer with an ICMP error where there has to be silence.
	if err := l.far.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
		return err
	}
	err = l.far.Do(func() error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "far"}, PeerName: l.link,
			PeerNamespace: netlink.NsFd(nearNS),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("adding a veth pair: %w", err)
		}
		return l.configure("far", 3)
	})
	if err != nil {
		return err
	}
	if err := l.near.Do(func() error { return l.configure(l.link, 1) }); err != nil {
		return err
	}
	return l.pinNeighbours()
}

// configure gives a link its addresses (without duplicate detection, which
// would take a second) and sets it up.
func (l *Lab) configure(name string, host byte) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding link %s: %w", name, err)
	}
	for _, f := range []Family{IPv4, IPv6} {
		a := &netlink.Addr{IPNet: ipNet(l.addr(f, host)), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("adding %s to %s: %w", a.IPNet, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

func (l *Lab) pinNeighbours() error {
	var mac net.HardwareAddr
	err := l.far.Do(func() error {
		link, err := netlink.LinkByName("far")
		if err == nil {
			mac = link.Attrs().HardwareAddr
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the far end's address: %w", err)
	}
	return l.near.Do(func() error {
		link, err := netlink.LinkByName(l.link)
		if err != nil {
			return fmt.Errorf("finding link %s: %w", l.link, err)
		}
		for _, f := range []Family{IPv4, IPv6} {
			n := &netlink.Neigh{
				LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
				IP: l.Target(f).AsSlice(), HardwareAddr: mac,
			}
			if err := netlink.NeighSet(n); err != nil {
				return fmt.Errorf("pinning neighbour %s: %w", n.IP, err)
			}
		}
		return nil
	})
}

// listenFor opens a listener on the target address, which the far end does
// not have yet.
func (l *Lab) listenFor(f Family, backlog int) (*listener, error) {
	lis, err := listen(l.far, f, netip.AddrPortFrom(l.Target(f), 0), backlog, 0, true)
	if err != nil {
		return nil, err
	}
	l.lis = append(l.lis, lis)
	return lis, nil
}

// Answer gives the far end the target addresses: SYNs reach listeners, or are
// refused where there is none.
func (l *Lab) Answer() error {
	return l.far.Do(func() error {
		link, err := netlink.LinkByName("far")
		if err != nil {
			return fmt.Errorf("finding the far link: %w", err)
		}
		for _, f := range []Family{IPv4, IPv6} {
			a := &netlink.Addr{IPNet: ipNet(l.Target(f)), Flags: unix.IFA_F_NODAD}
			if err := netlink.AddrReplace(link, a); err != nil {
				return fmt.Errorf("adding the target address %s: %w", a.IPNet, err)
			}
		}
		return nil
	})
}

// Far is the namespace of the far end.
func (l *Lab) Far() *Namespace { return l.far }

// Silence takes the target addresses from the far end again: what is sent to it
// from then on disappears, established connections included.
func (l *Lab) Silence() error {
	return l.far.Do(func() error {
		link, err := netlink.LinkByName("far")
		if err != nil {
			return fmt.Errorf("finding the far link: %w", err)
		}
		for _, f := range []Family{IPv4, IPv6} {
			if err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(l.Target(f))}); err != nil {
				return fmt.Errorf("removing the target address %s: %w", l.Target(f), err)
			}
		}
		return nil
	})
}

// Unreachable makes the far end a router that answers with ICMP host
// unreachable for IPv4 and no route for IPv6.
func (l *Lab) Unreachable() error {
	for s, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		// By default one message a second and destination is sent.
		"net/ipv4/icmp_ratelimit": "0", "net/ipv6/icmp/ratelimit": "0",
	} {
		if err := l.far.Sysctl(s, value); err != nil {
			return err
		}
	}
	return l.far.Do(func() error {
		for _, f := range []Family{IPv4, IPv6} {
			t := l.Target(f)
			r := &netlink.Route{
				Dst:  &net.IPNet{IP: t.AsSlice(), Mask: net.CIDRMask(t.BitLen(), t.BitLen())},
				Type: unix.RTN_UNREACHABLE,
			}
			if err := netlink.RouteReplace(r); err != nil {
				return fmt.Errorf("adding an unreachable route to %s: %w", t, err)
			}
		}
		return nil
	})
}

// Close removes the link and the far namespace.
func (l *Lab) Close() error {
	for _, lis := range l.lis {
		lis.close()
	}
	err := l.near.Do(func() error {
		link, err := netlink.LinkByName(l.link)
		if _, gone := err.(netlink.LinkNotFoundError); gone {
			return nil
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			return fmt.Errorf("removing link %s: %w", l.link, err)
		}
		return nil
	})
	return errors.Join(err, l.far.Close())
}

// handle returns a descriptor of the namespace.
func (n *Namespace) handle() (int, error) {
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("opening the network namespace: %w", err)
	}
	return fd, nil
}
