package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// The two ends of the veth pair.
var (
	nearPrefixes = []string{"198.18.77.1/24", "fd18:77::1/64"}
	farPrefixes  = []string{"198.18.77.2/24", "198.18.77.3/24", "198.18.77.4/24", "fd18:77::2/64"}
)

// wire is two network namespaces with a veth pair between them.
type wire struct {
	t         *testing.T
	near, far *workload.Namespace
}

func newWire(s *scene) *wire {
	s.t.Helper()
	w := &wire{t: s.t, near: s.namespace(true), far: s.namespace(true)}
	w.in(w.near, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"})
	})
	w.in(w.near, func() error {
		// The name is one of /run/netns, where this thread finds it too.
		out, err := exec.Command("ip", "link", "set", "far", "netns", w.far.Name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("moving the far end: %w: %s", err, out)
		}
		return wireUp("near", nearPrefixes)
	})
	w.in(w.far, func() error { return wireUp("far", farPrefixes) })
	return w
}

// in runs fn in a namespace.
func (w *wire) in(ns *workload.Namespace, fn func() error) {
	w.t.Helper()
	if err := ns.Do(fn); err != nil {
		w.t.Fatal(err)
	}
}

func wireUp(name string, prefixes []string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		a := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		}}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("adding %s: %w", p, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// nft loads rules in a namespace.
func (w *wire) nft(ns *workload.Namespace, rules string) {
	w.t.Helper()
	w.in(ns, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("loading rules: %w: %s", err, out)
		}
		return nil
	})
}

// route adds a route of the near end to a single address.
func (w *wire) route(to string, kind int) {
	w.t.Helper()
	a := netip.MustParseAddr(to)
	w.in(w.near, func() error {
		dst := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Type: kind})
	})
}

// connect begins to connect and gives the descriptor; errno is what it says at once.
func (w *wire) connect(to string) (fd int, errno error) {
	w.t.Helper()
	addr := netip.MustParseAddrPort(to)
	w.in(w.near, func() error {
		domain := unix.AF_INET6
		var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
		if addr.Addr().Is4() {
			domain, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
		}
		var err error
		if fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		errno = unix.Connect(fd, sa)
		return nil
	})
	w.t.Cleanup(func() { unix.Close(fd) })
	return fd, errno
}

// listen opens a listener at the far end that nobody accepts from, for so many.
func (w *wire) listen(ns *workload.Namespace, port, backlog int) {
	w.t.Helper()
	fd := -1
	w.in(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
	w.t.Cleanup(func() { unix.Close(fd) })
}

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("REQUIRE_BPF") == "1" {
				t.Fatalf("%v, and REQUIRE_BPF=1 forbids to skip", err)
			}
			t.Skip(err)
		}
	}
}
