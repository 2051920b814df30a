package sockdiag

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// pair returns the ends of a connection whose second end is closed: the first is in
// CLOSE_WAIT soon.
func pair(t *testing.T, network, addr string) (near net.Conn, listener net.Listener) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("no %s here: %v", network, err)
	}
	t.Cleanup(func() { l.Close() })
	near, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	return near, l
}

func addrPortOf(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// find walks until a socket is in a state.
func find(t *testing.T, s *Source, local netip.AddrPort, state flow.State) flow.Sock {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		var found flow.Sock
		err := s.Walk(flow.WalkStates{States: state.Bit()}, func(sock *flow.Sock) {
			if sock.Local == local {
				found = *sock
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if found.State == state {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v is not in %v", local, state)
		}
	}
}

// TestSource needs no privileges: what a user may see of the own sockets is all there.
func TestSource(t *testing.T) {
	s, err := New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for network, addr := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		near, l := pair(t, network, addr)
		local := addrPortOf(near.LocalAddr())
		sock := find(t, s, local, flow.StateCloseWait)
		// It never sent: the stamp is the handshake's, as eBPF reads it.
		if sock.LastSend < 0 || sock.LastSend > time.Minute {
			t.Errorf("%s: sent %v ago", network, sock.LastSend)
		}
		if !sock.HasSocket || sock.Cookie == 0 || sock.Peer != addrPortOf(l.Addr()) || !sock.FinUnread() {
			t.Errorf("%s: found %+v", network, sock)
		}
		var held []flow.Held
		err := s.Holders(flow.Wanted{Of: []*flow.Sock{&sock}, Ports: []uint16{sock.Peer.Port()}}, func(h *flow.Held) { held = append(held, *h) })
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[flow.State]int{}
		for _, h := range held {
			kinds[h.State]++
			if h.PID != uint32(os.Getpid()) || h.StartBoot == 0 || h.State == flow.StateCloseWait && h.Key != sock.Key {
				t.Errorf("%s: held %+v", network, h)
			}
		}
		if kinds[flow.StateCloseWait] != 1 || kinds[flow.StateListen] != 1 {
			t.Errorf("%s: held %v", network, kinds)
		}
		if own, err := s.HasAddress(sock.Key, local.Addr()); err != nil || !own {
			t.Errorf("%s: has its address: %v, %v", network, own, err)
		}
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		gone(t, s, &sock)
	}
}

// gone reads a socket until it is gone or moved on.
func gone(t *testing.T, s *Source, sock *flow.Sock) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		again := &flow.Sock{ID: sock.ID}
		if err := s.Read([]*flow.Sock{again}, true); err != nil {
			t.Fatal(err)
		}
		if again.Key != sock.Key {
			t.Fatalf("read %+v, asked for %+v", again.ID, sock.ID)
		}
		if again.Gone || again.State != sock.State {
			return
		}
	}
	t.Errorf("%v does not go", sock.ID)
}

// TestNoSuchNamespace: what is asked of a namespace that is gone is gone too.
func TestNoSuchNamespace(t *testing.T) {
	s, err := New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	sock := &flow.Sock{ID: flow.ID{Key: flow.Key{Addr: address(netnsBase+9, 1), Cookie: 1}, Local: here, Peer: there, NetNS: netnsBase + 9}}
	if err := s.Read([]*flow.Sock{sock}, false); err != nil || !sock.Gone {
		t.Errorf("%v, %+v", err, sock)
	}
	if own, err := s.HasAddress(sock.Key, here.Addr()); err != nil || own {
		t.Errorf("%v, %v", own, err)
	}
}
