package owner

import (
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestListener(t *testing.T) {
	const elsewhere = netns + 1
	tests := []struct {
		name, local string
		held        []flow.Held
		want        uint32
	}{
		{"the address", "10.0.0.1:80", []flow.Held{listens("10.0.0.1:80", netns, 5, 3)}, 5},
		{"any address", "10.0.0.1:80", []flow.Held{listens("0.0.0.0:80", netns, 5, 3)}, 5},
		{"any IPv6 address", "[2001:db8::1]:80", []flow.Held{listens("[::]:80", netns, 5, 3)}, 5},
		{"any IPv6 address takes IPv4", "10.0.0.1:80", []flow.Held{listens("[::]:80", netns, 5, 3)}, 5},
		{"any IPv4 address takes no IPv6", "[2001:db8::1]:80", []flow.Held{listens("0.0.0.0:80", netns, 5, 3)}, 0},
		{"another address", "10.0.0.1:80", []flow.Held{listens("10.0.0.9:80", netns, 5, 3)}, 0},
		{"another port", "10.0.0.1:80", []flow.Held{listens("10.0.0.1:81", netns, 5, 3)}, 0},
		{"another namespace", "10.0.0.1:80", []flow.Held{listens("10.0.0.1:80", elsewhere, 5, 3)}, 0},
		{
			"the address beats any address", "10.0.0.1:80",
			[]flow.Held{listens("0.0.0.0:80", netns, 2, 3), listens("10.0.0.1:80", netns, 5, 3), listens("[::]:80", netns, 3, 3)},
			5,
		},
		{
			// Both at one port: the IPv6 one must be IPV6_V6ONLY.
			"any IPv4 address beats any IPv6 address", "10.0.0.1:80",
			[]flow.Held{listens("[::]:80", netns, 2, 3), listens("0.0.0.0:80", netns, 5, 3)},
			5,
		},
		{
			"the namespace decides first", "10.0.0.1:80",
			[]flow.Held{listens("10.0.0.1:80", elsewhere, 2, 3), listens("[::]:80", netns, 5, 3)},
			5,
		},
		{
			"SO_REUSEPORT: the lowest pid", "10.0.0.1:80",
			[]flow.Held{listens("0.0.0.0:80", netns, 9, 3), listens("0.0.0.0:80", netns, 4, 3), listens("0.0.0.0:80", netns, 6, 3)},
			4,
		},
		{"nobody", "10.0.0.1:80", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proc := newFakeProc(t)
			proc.run(tt.want, listens("[::]:1", 0, 1, 1).StartBoot, "/usr/sbin/server")
			s := conn()
			s.HasSocket, s.Local = false, netip.MustParseAddrPort(tt.local)
			q := resolve(t, New(&fakeSource{held: tt.held}, proc.root), Query{Sock: s, Unaccepted: true})
			p := q.Result.Process
			if p.PID != tt.want || p.FD != -1 || q.Result.Total != 0 {
				t.Errorf("named pid %d fd %d of %d holders, want pid %d", p.PID, p.FD, q.Result.Total, tt.want)
			}
			if q.Server != (tt.want != 0) {
				t.Errorf("server %v", q.Server)
			}
			if tt.want == 0 {
				if p.Relation != finding.RelationNone {
					t.Errorf("nobody is the %v", p.Relation)
				}
				return
			}
			if p.Relation != finding.RelationListener || p.Path != "/usr/sbin/server" {
				t.Errorf("named %q as %v", p.Path, p.Relation)
			}
		})
	}
}

// Who is asked about an accepted connection is its holder; the listener tells
// the role.
func TestListenerTellsTheRole(t *testing.T) {
	s := conn()
	s.Role = flow.RoleUnknown
	source := &fakeSource{held: []flow.Held{holds(s, 30, 5, 0), listens("[::]:80", netns, 2, 3)}}
	q := resolve(t, New(source, t.TempDir()), Query{Sock: s})
	if !q.Server || q.Result.Process.PID != 30 || q.Result.Process.Relation != finding.RelationHolder {
		t.Errorf("server %v, named %+v", q.Server, q.Result.Process)
	}
	s.Role = flow.RoleClient
	resolve(t, New(source, t.TempDir()), Query{Sock: s})
	if len(source.want.Ports) != 0 {
		t.Error("listeners are looked for although the role is known")
	}
}

// A listener is held as any socket is.
func TestHolderOfAListener(t *testing.T) {
	h := listens("[::]:80", netns, 30, 3)
	s := &flow.Sock{ID: flow.ID{Key: h.Key, Local: h.Local, NetNS: h.NetNS}, State: flow.StateListen, HasSocket: true}
	again := h
	again.FD = 9
	r := New(&fakeSource{held: []flow.Held{again, h, listens("[::]:80", netns, 7, 3)}}, t.TempDir())
	q := resolve(t, r, Query{Sock: s})
	p := q.Result.Process
	if p.PID != 30 || p.FD != 3 || p.Relation != finding.RelationHolder || q.Result.Total != 2 {
		t.Errorf("named %+v of %d holders", p, q.Result.Total)
	}
}
