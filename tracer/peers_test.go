package tracer

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// facing are the sockets that face one, in one of the namespaces.
func facing(t *testing.T, tr *Tracer, s *flow.Sock, in ...*namespace) []flow.Sock {
	t.Helper()
	var found []flow.Sock
	err := tr.Facing([]*flow.Sock{s}, func(c *flow.Sock) {
		for _, ns := range in {
			if c.NetNS == ns.inode && c.Local == s.Peer && c.Peer == s.Local {
				found = append(found, *c)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Every state that a connection's other end can be in is found, and its numbers
// are those that this end waits for.
func TestFacing(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ns := newNamespace(t)
			tr := load(t, Options{ReadOnly: true})
			for range 20 {
				pair(t, f) // not asked for
			}
			client, server := pair(t, f)
			client.write([]byte("seven b"))
			server.read(7)
			check := func(end *socket, want flow.State, timewait bool) {
				t.Helper()
				s := find(t, tr, end.cookie)
				var found []flow.Sock
				// ACKs may still be under way.
				eventually(t, "the other end in "+want.String(), func() bool {
					s = find(t, tr, end.cookie)
					found = facing(t, tr, &s, ns)
					return len(found) == 1 && found[0].State == want && found[0].RcvNxt == s.SndNxt && found[0].SndNxt == s.RcvNxt
				})
				if found[0].TimeWait != timewait {
					t.Errorf("minisocket: %v, want %v", found[0].TimeWait, timewait)
				}
			}
			check(client, flow.StateEstablished, false)
			client.shutdown()
			check(client, flow.StateCloseWait, false)
			check(server, flow.StateFinWait2, false)
			client.close()
			check(server, flow.StateFinWait2, true)
			s := find(t, tr, server.cookie)
			server.close()
			eventually(t, "nothing but TIME_WAIT", func() bool {
				found := facing(t, tr, &s, ns)
				return len(found) == 1 && found[0].State == flow.StateTimeWait && found[0].RcvNxt == s.SndNxt+1
			})
		})
	}
}

// The same addresses and ports in two namespaces: both are shown, and their
// numbers tell them apart.
func TestFacingInTwoNamespaces(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	first := newNamespace(t)
	client, server := pair(t, ipv4)
	from, to := client.local(), server.local()
	second := newNamespace(t)
	l := newSocket(t, ipv4)
	l.setInt(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(l.fd, sockaddr(to)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l.fd, 1); err != nil {
		t.Fatal(err)
	}
	twin := newSocket(t, ipv4)
	if err := unix.Bind(twin.fd, sockaddr(from)); err != nil {
		t.Fatal(err)
	}
	twin.connect(to)
	l.accept()

	s := find(t, tr, client.cookie)
	found := facing(t, tr, &s, first, second)
	if len(found) != 2 {
		t.Fatalf("%d sockets face it, want one in each namespace", len(found))
	}
	for _, c := range found {
		if fits := c.RcvNxt == s.SndNxt && c.SndNxt == s.RcvNxt; fits != (c.NetNS == first.inode) {
			t.Errorf("in namespace %d (ours is %d) the numbers fit: %v", c.NetNS, first.inode, fits)
		}
	}
}

// A walk that stands halfway goes on where it stood, and takes all again.
func TestFacingBetweenSteps(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	cookies := closeWaits(t, 100)
	found := map[uint64]int{}
	other := &flow.Sock{ID: flow.ID{Local: ipv4.bind, Peer: ipv4.bind}}
	for done := false; !done; {
		var err error
		done, err = tr.WalkSome(flow.WalkStates{States: flow.StateCloseWait.Bit()}, func(s *flow.Sock) {
			if s.NetNS == ns.inode {
				found[s.Cookie]++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Facing([]*flow.Sock{other}, func(*flow.Sock) {}); err != nil {
			t.Fatal(err)
		}
	}
	for cookie := range cookies {
		if found[cookie] != 1 {
			t.Errorf("socket %#x found %d times", cookie, found[cookie])
		}
	}
}
