package tracer

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// witnessed is what sock_diag says of a socket, by code that shares nothing with
// the tracer's.
type witnessed struct {
	state       flow.State
	local, peer netip.AddrPort
	cookie      uint64
	inode       uint64
}

// witness lists the TCP connections of the network namespace that the test is in,
// listeners left out.
func witness(t testing.TB) []witnessed {
	t.Helper()
	var all []witnessed
	for _, domain := range []uint8{unix.AF_INET, unix.AF_INET6} {
		socks, err := netlink.SocketDiagTCP(domain)
		if err != nil {
			t.Fatalf("asking sock_diag (module tcp_diag): %v", err)
		}
		for _, s := range socks {
			if flow.State(s.State) == flow.StateListen {
				continue
			}
			source, _ := netip.AddrFromSlice(s.ID.Source)
			destination, _ := netip.AddrFromSlice(s.ID.Destination)
			all = append(all, witnessed{
				state:  flow.State(s.State),
				local:  netip.AddrPortFrom(source.Unmap(), s.ID.SourcePort),
				peer:   netip.AddrPortFrom(destination.Unmap(), s.ID.DestinationPort),
				cookie: uint64(s.ID.Cookie[1])<<32 | uint64(s.ID.Cookie[0]),
				inode:  uint64(s.INode),
			})
		}
	}
	return all
}

// witnessedIn waits until the connection is in a state.
func witnessedIn(t testing.TB, local, peer netip.AddrPort, state flow.State) {
	t.Helper()
	eventually(t, "a connection in "+state.String(), func() bool {
		for _, w := range witness(t) {
			if w.local == local && w.peer == peer {
				return w.state == state
			}
		}
		return false
	})
}
