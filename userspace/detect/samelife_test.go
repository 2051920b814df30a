package detect

import (
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// TestSameLife: without cookies addresses tell one connection from the next.
func TestSameLife(t *testing.T) {
	id := func(cookie uint64, local, peer string, netns uint32) flow.ID {
		return flow.ID{
			Key:   flow.Key{Cookie: cookie},
			Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer), NetNS: netns,
		}
	}
	const here, there = "10.0.0.1:4000", "10.0.0.2:443"
	for _, tt := range []struct {
		name string
		a, b flow.ID
		want bool
	}{
		{"one cookie", id(7, here, there, 1), id(7, here, "10.0.0.3:443", 1), true},
		{"two cookies", id(7, here, there, 1), id(8, here, there, 1), false},
		{"no cookies", id(0, here, there, 1), id(0, here, there, 1), true},
		{"a cookie that somebody asked for meanwhile", id(0, here, there, 1), id(7, here, there, 1), true},
		{"another peer", id(0, here, there, 1), id(7, here, "10.0.0.3:443", 1), false},
		{"another port", id(0, here, there, 1), id(0, "10.0.0.1:4001", there, 1), false},
		{"another namespace", id(0, here, there, 1), id(0, here, there, 2), false},
		{"it had no port yet", id(0, "0.0.0.0:0", there, 1), id(0, here, there, 1), true},
		{"its port was given back", id(0, here, there, 1), id(0, "10.0.0.1:0", "10.0.0.2:0", 1), true},
		{"an announcement", id(0, here, there, 1), flow.ID{}, true},
	} {
		if sameLife(tt.a, tt.b) != tt.want || sameLife(tt.b, tt.a) != tt.want {
			t.Errorf("%s: %v", tt.name, !tt.want)
		}
	}
}
