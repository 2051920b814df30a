package tracer

import (
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// TestSameSocket: what was read is believed only as far as it can be the socket
// that was meant.
func TestSameSocket(t *testing.T) {
	id := func(cookie uint64, local, peer string, netns uint32) flow.ID {
		return flow.ID{
			Key:   flow.Key{Addr: 0x1000, Cookie: cookie},
			Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer), NetNS: netns,
		}
	}
	const here, there = "10.0.0.1:4000", "10.0.0.2:443"
	asked := id(7, here, there, 1)
	for _, tt := range []struct {
		name     string
		asked    flow.ID
		read     flow.ID
		timewait bool
		want     bool
	}{
		{"itself", asked, asked, false, true},
		{"another life", asked, id(8, here, there, 1), false, false},
		{"closed: its ports are given back", asked, id(7, "10.0.0.1:0", "10.0.0.2:0", 1), false, true},
		{"a minisocket", asked, asked, true, true},
		{"a minisocket of another life", asked, id(8, here, there, 1), true, false},
		{"torn: the cookie of one life, the peer of the next", asked, id(7, here, "10.0.0.3:443", 1), true, false},
		{"torn: the cookie of one life, the port of the next", asked, id(7, "10.0.0.1:4001", there, 1), true, false},
		{"a minisocket that was only announced", flow.ID{Key: asked.Key}, asked, true, true},
		{"no cookie, itself", id(0, here, there, 1), id(0, here, there, 1), false, true},
		{"no cookie, and now it has one", id(0, here, there, 1), asked, false, true},
		{"no cookie, another peer", id(0, here, there, 1), id(0, here, "10.0.0.3:443", 1), false, false},
		{"no cookie, another namespace", id(0, here, there, 1), id(0, here, there, 2), false, false},
		{"no cookie, no port yet", id(0, "10.0.0.1:0", there, 1), id(0, here, there, 1), false, true},
		{"nothing but the address", flow.ID{Key: flow.Key{Addr: 0x1000}}, asked, false, true},
	} {
		if got := sameSocket(tt.asked, 0, &flow.Sock{ID: tt.read, TimeWait: tt.timewait}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
