package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// TestOtherEnd: where both ends are on this host, each names the other, and only
// that: the same addresses are in use in namespaces beside it.
func TestOtherEnd(t *testing.T) {
	s := newScene(t)
	worker := s.child(workload.ChildOptions{})
	var conns []*conn
	// Twice the same addresses and ports on loopback, in namespaces of their own.
	at := endpoints{netip.MustParseAddrPort("127.0.0.1:30001"), netip.MustParseAddrPort("127.0.0.1:30002")}
	for range 2 {
		ns := s.namespace(false)
		conns = append(conns, s.connectAs(ns, ns, at))
	}
	// And twice over a veth pair.
	for _, at := range []endpoints{
		{netip.MustParseAddrPort("198.18.0.1:30001"), netip.MustParseAddrPort("198.18.0.2:30002")},
		{netip.MustParseAddrPort("[fd18::1]:30001"), netip.MustParseAddrPort("[fd18::2]:30002")},
	} {
		for range 2 {
			near, far := s.namespace(false), s.namespace(false)
			s.wire(near, far, at)
			conns = append(conns, s.connectAs(near, far, at))
		}
	}
	orphan := conns[len(conns)-1]
	for _, c := range conns {
		c.halfClose(t, c == orphan)
		c.giveTo(t, worker)
	}
	// One whose other end is gone, and one that nobody accepted.
	alone := s.make(workload.Spec{Kind: workload.CloseWaitIgnored}).Truths()[0]
	unaccepted := s.make(workload.Spec{Kind: workload.CloseWaitUnaccepted, Peers: workload.PeersHeld}).Truths()

	a := startRun(t)
	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
	open := byTuple(a.all(), "open")
	list := listed(t)
	for _, records := range []func(workload.Tuple) *record{
		func(tp workload.Tuple) *record { return open[tp][0] },
		func(tp workload.Tuple) *record { return list[tp] },
	} {
		for _, c := range conns {
			checkPeer(t, records(c.near.Tuple()), "close_wait", worker.PID, fmt.Sprintf("(pid %d, fd %d)", worker.PID, c.kept))
			if c == orphan {
				checkPeer(t, records(c.far.Tuple()), "fin_wait_2", 0, "closed by its process")
			} else {
				checkPeer(t, records(c.far.Tuple()), "fin_wait_2", os.Getpid(), fmt.Sprintf("(pid %d, fd %d)", os.Getpid(), c.near.FD))
			}
		}
		checkPeer(t, records(alone.Tuple()), "", 0, "")
		for _, tr := range unaccepted {
			if tr.State == "fin_wait_2" {
				checkPeer(t, records(tr.Tuple()), "close_wait", 0, "not accepted by any process")
			}
		}
	}
}

// checkPeer compares what a record says of the other end; no state: nothing.
func checkPeer(t *testing.T, r *record, state string, pid int, words string) {
	t.Helper()
	if r == nil {
		t.Error("no record")
		return
	}
	exe := ""
	if pid != 0 {
		exe = filepath.Base(os.Args[0])
	}
	if got := r.str("tcplimbo.peer.state"); got != state {
		t.Errorf("tcplimbo.peer.state %q, want %q: %s", got, state, r.line)
	}
	if got := int(r.num("tcplimbo.peer.pid")); got != pid || r.has("tcplimbo.peer.pid") != (pid != 0) {
		t.Errorf("tcplimbo.peer.pid %d, want %d: %s", got, pid, r.line)
	}
	if got := r.str("tcplimbo.peer.executable"); got != exe {
		t.Errorf("tcplimbo.peer.executable %q, want %q: %s", got, exe, r.line)
	}
	if says := strings.Contains(r.str("message"), "the other end is "); says != (state != "") || !strings.Contains(r.str("message"), words) {
		t.Errorf("the message does not say %q: %s", words, r.str("message"))
	}
}

// endpoints are the connecting and the accepting end's address.
type endpoints struct{ client, server netip.AddrPort }

// conn is a connection between two namespaces, or inside of one.
type conn struct {
	// near connected and is half-closed, far accepted and does not answer.
	near, far *workload.Truth
	// kept is far's descriptor in the process that has it.
	kept int
}

// wire joins two namespaces by a veth pair, for these addresses.
func (s *scene) wire(near, far *workload.Namespace, at endpoints) {
	s.t.Helper()
	var farFD int
	err := far.Do(func() (err error) {
		farFD, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		s.t.Fatalf("opening a network namespace: %v", err)
	}
	defer unix.Close(farFD)
	const name = "wire"
	err = near.Do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(farFD)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("adding a veth pair: %w", err)
		}
		return setUp(name, at.client.Addr())
	})
	if err == nil {
		err = far.Do(func() error { return setUp(name, at.server.Addr()) })
	}
	if err != nil {
		s.t.Fatalf("joining two namespaces: %v", err)
	}
}

func setUp(name string, addr netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	ones := 24
	if addr.Is6() {
		ones = 64
	}
	ipNet := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(ones, addr.BitLen())}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet, Flags: unix.IFA_F_NODAD}); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// connectAs makes a connection between given addresses.
func (s *scene) connectAs(near, far *workload.Namespace, at endpoints) *conn {
	s.t.Helper()
	var listener, client int
	err := far.Do(func() (err error) {
		if listener, err = bound(at.server); err != nil {
			return err
		}
		return unix.Listen(listener, 1)
	})
	if err == nil {
		defer unix.Close(listener)
		err = near.Do(func() (err error) {
			if client, err = bound(at.client); err != nil {
				return err
			}
			return unix.Connect(client, sockaddr(at.server))
		})
	}
	if err != nil {
		s.t.Fatalf("connecting %v to %v: %v", at.client, at.server, err)
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		s.t.Fatalf("accepting: %v", err)
	}
	nearNS, _ := near.Inode()
	farNS, _ := far.Inode()
	c := &conn{
		near: &workload.Truth{State: "fin_wait_2", NetNS: nearNS, Local: at.client, Peer: at.server, PID: os.Getpid(), FD: client},
		far:  &workload.Truth{State: "close_wait", NetNS: farNS, Local: at.server, Peer: at.client, PID: os.Getpid(), FD: server},
	}
	s.add(c.near, c.far)
	return c
}

// bound returns a socket with a local address.
func bound(at netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, sockaddr(at))
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	return &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
}

// halfClose ends this end's side, or all of it.
func (c *conn) halfClose(t *testing.T, orphan bool) {
	t.Helper()
	err := unix.Shutdown(c.near.FD, unix.SHUT_WR)
	if orphan {
		err = unix.Close(c.near.FD)
		c.near.FD = -1
	} else {
		t.Cleanup(func() { unix.Close(c.near.FD) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// giveTo passes the far end on to another process, which alone has it then.
func (c *conn) giveTo(t *testing.T, worker *workload.Child) {
	t.Helper()
	kept, err := worker.Keep(c.far.FD)
	if err != nil {
		t.Fatal(err)
	}
	c.kept, c.far.PID = kept[0], worker.PID
	if err := unix.Close(c.far.FD); err != nil {
		t.Fatal(err)
	}
}
