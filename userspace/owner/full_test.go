package owner

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// addresses are those of the network namespaces of sockets, by socket.
type addresses map[flow.Key]string

func (a addresses) HasAddress(sock flow.Key, addr netip.Addr) (bool, error) {
	if a == nil {
		return false, errors.New("broken")
	}
	return a[sock] == addr.String(), nil
}

// fullListener has one connection more than its limit.
func fullListener(addr string, ns, pid uint32) flow.Held {
	h := listens(addr, ns, pid, 3)
	h.AcceptQueue, h.AcceptLimit = 129, 128
	return h
}

func TestOverflowing(t *testing.T) {
	const elsewhere = netns + 1
	connect := &flow.Sock{
		ID: flow.ID{
			Key: flow.Key{Addr: 0xff00, Cookie: 7}, NetNS: netns,
			Local: netip.MustParseAddrPort("10.0.0.1:40000"),
		},
		State: flow.StateSynSent, HasSocket: true, Role: flow.RoleClient,
	}
	almost := listens("0.0.0.0:80", netns, 5, 3)
	almost.AcceptQueue, almost.AcceptLimit = 128, 128
	there := func(h flow.Held, addr string) addresses { return addresses{h.Key: addr} }
	tests := []struct {
		name, peer string
		held       []flow.Held
		known      addresses
		want       uint32
	}{
		{"loopback", "127.0.0.1:80", []flow.Held{fullListener("127.0.0.1:80", netns, 5)}, addresses{}, 5},
		{"loopback, any address", "127.0.0.1:80", []flow.Held{fullListener("[::]:80", netns, 5)}, addresses{}, 5},
		{"loopback of IPv6", "[::1]:80", []flow.Held{fullListener("[::]:80", netns, 5)}, addresses{}, 5},
		{"one more fits", "127.0.0.1:80", []flow.Held{almost}, addresses{}, 0},
		{"another port", "127.0.0.1:80", []flow.Held{fullListener("127.0.0.1:81", netns, 5)}, addresses{}, 0},
		{"loopback of another namespace", "127.0.0.1:80", []flow.Held{fullListener("127.0.0.1:80", elsewhere, 5)}, addresses{}, 0},
		{"its own address", "10.0.0.1:80", []flow.Held{fullListener("0.0.0.0:80", netns, 5)}, addresses{}, 5},
		{"another address of its own", "10.0.0.9:80", []flow.Held{fullListener("0.0.0.0:80", netns, 5)}, addresses{connect.Key: "10.0.0.9"}, 5},
		{"not an address of its own", "10.0.0.9:80", []flow.Held{fullListener("0.0.0.0:80", netns, 5)}, addresses{}, 0},
		{
			"the peer's namespace", "10.0.0.2:80",
			[]flow.Held{fullListener("0.0.0.0:80", elsewhere, 5)},
			there(fullListener("0.0.0.0:80", elsewhere, 5), "10.0.0.2"), 5,
		},
		{
			"a namespace with another address", "10.0.0.2:80",
			[]flow.Held{fullListener("0.0.0.0:80", elsewhere, 5)},
			there(fullListener("0.0.0.0:80", elsewhere, 5), "10.0.0.3"), 0,
		},
		{
			"its own address is nearer than the same elsewhere", "10.0.0.9:80",
			[]flow.Held{fullListener("0.0.0.0:80", elsewhere, 5)},
			addresses{connect.Key: "10.0.0.9", fullListener("0.0.0.0:80", elsewhere, 5).Key: "10.0.0.9"},
			0,
		},
		{
			"a listener that is nearer has room", "127.0.0.1:80",
			[]flow.Held{fullListener("0.0.0.0:80", netns, 5), listens("127.0.0.1:80", netns, 6, 3)},
			addresses{},
			0,
		},
		{
			"a listener that is nearer is full", "127.0.0.1:80",
			[]flow.Held{listens("0.0.0.0:80", netns, 5, 3), fullListener("127.0.0.1:80", netns, 6)},
			addresses{},
			6,
		},
		{
			"of several holders the lowest pid", "127.0.0.1:80",
			[]flow.Held{fullListener("0.0.0.0:80", netns, 9), fullListener("0.0.0.0:80", netns, 4)},
			addresses{},
			4,
		},
		{"nobody listens", "127.0.0.1:80", nil, addresses{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New(&fakeSource{held: tt.held}, t.TempDir())
			s := *connect
			s.Peer = netip.MustParseAddrPort(tt.peer)
			q := resolve(t, r, Query{Sock: &s, Peer: true})
			l, err := r.Overflowing(q, tt.known)
			switch {
			case err != nil:
				t.Fatal(err)
			case l == nil && tt.want != 0:
				t.Fatalf("none found, want pid %d", tt.want)
			case l != nil && (l.Process.PID != tt.want || l.Process.FD != 3 || l.Queue != 129 || l.Limit != 128):
				t.Errorf("found %+v, want pid %d", l, tt.want)
			}
		})
	}
}

func TestOverflowingNeedsAsking(t *testing.T) {
	s := conn()
	s.State, s.Peer = flow.StateSynSent, netip.MustParseAddrPort("127.0.0.1:80")
	full := []flow.Held{fullListener("127.0.0.1:80", netns, 5)}
	r := New(&fakeSource{held: full}, t.TempDir())
	if q := resolve(t, r, Query{Sock: s}); len(q.Full) != 0 {
		t.Errorf("found %v, which nobody asked for", q.Full)
	}
	s.Peer = netip.MustParseAddrPort("10.0.0.2:80")
	r = New(&fakeSource{held: []flow.Held{fullListener("0.0.0.0:80", netns, 5)}}, t.TempDir())
	if _, err := r.Overflowing(resolve(t, r, Query{Sock: s, Peer: true}), addresses(nil)); err == nil {
		t.Error("an address that cannot be looked for is no error")
	}
}
