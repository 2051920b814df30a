package tracer

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// bare is a connection whose ends nobody asked for a cookie.
type bare struct {
	client, server int
	local, peer    netip.AddrPort
}

// bareFrom connects from an address and port to a listener.
func bareFrom(t *testing.T, f family, from netip.AddrPort, l *socket) bare {
	t.Helper()
	fd, err := unix.Socket(f.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sockaddr(from)); err != nil {
		t.Fatalf("binding to %v: %v", from, err)
	}
	if err := unix.Connect(fd, sockaddr(l.local())); err != nil {
		t.Fatalf("connecting: %v", err)
	}
	server, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(server) })
	return bare{fd, server, unmapped(from), unmapped(l.local())}
}

// end finds one end of a connection as a walk does.
func end(t *testing.T, tr *Tracer, ns *namespace, local, peer netip.AddrPort) flow.Sock {
	t.Helper()
	for _, s := range walk(t, tr, flow.WalkStates{States: flow.StateEstablished.Bit()}, ns) {
		if s.Local == local && s.Peer == peer {
			return s
		}
	}
	t.Fatalf("no connection of %v to %v", local, peer)
	return flow.Sock{}
}

// A cookie that was made for us is the one that the socket has from then on. The
// socket is in another namespace than the agent, and not the only one with its
// ports.
func TestCookie(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			home := newNamespace(t)
			ns := newNamespace(t)
			// The way into a namespace is a process that is in it.
			startKeeper(t)
			l := listen(t, f, 4)
			conns := []bare{bareFrom(t, f, netip.AddrPortFrom(f.bind.Addr(), 4000), l)}
			if f.domain == unix.AF_INET {
				other := netip.MustParseAddr("127.0.0.2")
				conns = append(conns, bareFrom(t, f, netip.AddrPortFrom(other, 4000), l))
			}
			home.enter(t)
			for _, c := range conns {
				checkCookie(t, tr, c.client, end(t, tr, ns, c.local, c.peer).ID)
				checkCookie(t, tr, c.server, end(t, tr, ns, c.peer, c.local).ID)
			}
			if inode, err := netnsInode("/proc/thread-self/ns/net"); err != nil || inode != home.inode {
				t.Errorf("in namespace %d afterwards (%v), want %d as before", inode, err, home.inode)
			}
		})
	}
}

func checkCookie(t *testing.T, tr *Tracer, fd int, id flow.ID) {
	t.Helper()
	got, err := tr.Cookie(id)
	if err != nil {
		t.Errorf("cookie of %v to %v: %v", id.Local, id.Peer, err)
		return
	}
	want, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("cookie of %v to %v: %#x, want %#x", id.Local, id.Peer, got, want)
	}
}

func TestCookieOfNothing(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	id := flow.ID{
		Local: netip.MustParseAddrPort("127.0.0.1:1"), Peer: netip.MustParseAddrPort("127.0.0.1:2"), NetNS: ns.inode,
	}
	if cookie, err := tr.Cookie(id); err == nil {
		t.Errorf("cookie %#x of a connection that is not there", cookie)
	}
	l := listen(t, ipv4, 1)
	listening := id
	listening.Peer, listening.Local = id.Local, l.local()
	if cookie, err := tr.Cookie(listening); err == nil {
		t.Errorf("cookie %#x of a connection that is not there: the listener's", cookie)
	}
	id.NetNS = 1
	if cookie, err := tr.Cookie(id); err == nil {
		t.Errorf("cookie %#x in a namespace that is not there", cookie)
	}
}
