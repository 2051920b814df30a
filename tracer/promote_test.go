package tracer

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Every kind of stuck socket comes out of the young generation, in each family,
// and what is read of it is what the test knows.
func TestStuckSocketsArePromoted(t *testing.T) {
	requireBPF(t)
	tr := attached(t, Options{Watch: stuckStates})
	for _, f := range families {
		for _, r := range recipes {
			t.Run(f.name+" "+r.name, func(t *testing.T) {
				ns := newNamespace(t)
				seen := watching(ns)
				before := BootTime()
				st := r.make(t, f)
				after := BootTime()
				e := promotionOf(t, tr, seen, &st)
				checkPromotion(t, e, &st, before, after)
				sock := &flow.Sock{ID: flow.ID{Key: e.Key}}
				if err := tr.Read([]*flow.Sock{sock}, false); err != nil {
					t.Fatal(err)
				}
				checkStuck(t, sock, &st, ns)
			})
		}
	}
}

// promotionOf waits until the socket is announced, and returns the last word on it.
func promotionOf(t *testing.T, tr *Tracer, seen *seen, st *stuck) flow.Event {
	t.Helper()
	var last flow.Event
	eventually(t, "a promotion of the socket in "+st.state.String(), func() bool {
		seen.age(t, tr)
		for _, e := range seen.events {
			sock := &flow.Sock{ID: flow.ID{Key: e.Key}}
			if err := tr.Read([]*flow.Sock{sock}, false); err != nil {
				t.Fatal(err)
			}
			if e.Kind == flow.EventPromoted && e.New == st.state && st.is(sock) {
				last = e
			}
		}
		return last.Kind != flow.EventNone
	})
	return last
}

func checkPromotion(t *testing.T, e flow.Event, st *stuck, before, after time.Duration) {
	t.Helper()
	// A minisocket inherits it (inet_twsk_alloc).
	if e.Cookie != st.cookie {
		t.Errorf("cookie %#x, want %#x", e.Cookie, st.cookie)
	}
	// The kernel side and the kernel itself note these times in jiffies, of 10 ms
	// at the most.
	const slack = 20 * time.Millisecond
	if e.Since < before-slack || e.Since > after+slack {
		t.Errorf("in its state since %v, want %v to %v", e.Since, before, after)
	}
	if e.TimeWait != st.timewait {
		t.Errorf("a minisocket: %v, want %v", e.TimeWait, st.timewait)
	}
	if e.Untracked {
		t.Error("not tracked, in an empty old generation")
	}
	if !st.mine {
		if e.Task.Known() {
			t.Errorf("done by %+v, want nobody: it was the network", e.Task)
		}
		return
	}
	comm, err := os.ReadFile("/proc/thread-self/comm")
	if err != nil {
		t.Fatal(err)
	}
	want := flow.Task{
		PID: uint32(os.Getpid()), TID: uint32(unix.Gettid()), UID: uint32(os.Getuid()),
		Comm: strings.TrimSuffix(string(comm), "\n"),
	}
	if e.Task != want {
		t.Errorf("done by %+v, want %+v", e.Task, want)
	}
}

func checkStuck(t *testing.T, s *flow.Sock, st *stuck, ns *namespace) {
	t.Helper()
	if s.Gone || !st.is(s) || s.NetNS != ns.inode {
		t.Errorf("read %v of %v to %v in namespace %d (gone: %v), want %v of %v to %v in %d",
			s.State, s.Local, s.Peer, s.NetNS, s.Gone, st.state, st.local, st.peer, ns.inode)
	}
	if s.TimeWait != st.timewait || s.Dead != st.orphan || s.HasSocket == st.orphan {
		t.Errorf("minisocket %v, orphan %v, has a descriptor %v; want %v, %v, %v",
			s.TimeWait, s.Dead, s.HasSocket, st.timewait, st.orphan, !st.orphan)
	}
	if s.Role != st.role {
		t.Errorf("role %q, want %q", s.Role, st.role)
	}
	if st.socket != nil && s.Inode != st.inode {
		t.Errorf("inode %d, want %d", s.Inode, st.inode)
	}
	if st.timewait && (s.Expires <= 0 || s.Expires > 61*time.Second) {
		t.Errorf("the minisocket ends in %v, want up to a minute", s.Expires)
	}
	if !st.timewait && s.UID != uint32(os.Getuid()) {
		t.Errorf("uid %d, want %d", s.UID, os.Getuid())
	}
}

// A promoted socket is followed to its end, and leaves nothing behind.
func TestPromotedSocketsAreFollowed(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	seen := watching(ns)
	client, server := pair(t, ipv4)
	client.shutdown()
	client.in(flow.StateFinWait2)
	server.in(flow.StateCloseWait)
	waiting := promotionOf(t, tr, seen, &stuck{
		state: flow.StateCloseWait, local: server.local(), peer: client.local(),
	})
	half := promotionOf(t, tr, seen, &stuck{
		state: flow.StateFinWait2, local: client.local(), peer: server.local(),
	})
	if err := unix.SetsockoptLinger(server.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	ports := [2]uint16{client.local().Port(), server.local().Port()}
	// Closing with linger time 0 resets the connection: both ends end at once.
	server.close()
	client.in(flow.StateClose)
	seen.take(t, tr)

	checkEnd(t, seen.of(waiting.Key), waiting, flow.StateCloseWait, ports[1], ports[0], 0)
	checkEnd(t, seen.of(half.Key), half, flow.StateFinWait2, ports[0], ports[1], int32(unix.ECONNRESET))
	for _, e := range []flow.Event{waiting, half} {
		if _, _, ok := tr.Recall(e.Key); ok {
			t.Errorf("the socket that was in %v is still in the old generation", e.New)
		}
	}
}

func checkEnd(t *testing.T, events []flow.Event, promoted flow.Event, from flow.State, local, peer uint16, errno int32) {
	t.Helper()
	if len(events) < 2 {
		t.Fatalf("events %+v of the socket in %v, want a promotion and an end", events, from)
	}
	e := events[len(events)-1]
	if e.Kind != flow.EventTransition || e.Old != from || e.New != flow.StateClose {
		t.Fatalf("last event %+v, want %v to closed", e, from)
	}
	if e.Local.Port() != local || e.Peer.Port() != peer {
		t.Errorf("ports %d and %d at the end, want %d and %d", e.Local.Port(), e.Peer.Port(), local, peer)
	}
	if e.Since != promoted.Since || e.Time <= e.Since {
		t.Errorf("in %v from %v to %v, promoted as since %v", from, e.Since, e.Time, promoted.Since)
	}
	if e.Err != errno {
		t.Errorf("error %d, want %d", e.Err, errno)
	}
	if e.Successor != 0 {
		t.Errorf("a successor %#x of a connection that was reset", e.Successor)
	}
}

// A half-closed socket that is closed lives on as a minisocket, which the event
// names and the old generation knows.
func TestClosingNamesTheSuccessor(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ns := newNamespace(t)
			seen := watching(ns)
			st := makeHalfClosed(t, f)
			promoted := promotionOf(t, tr, seen, &st)
			st.socket.close()
			seen.take(t, tr)
			events := seen.of(promoted.Key)
			e := events[len(events)-1]
			if e.Kind != flow.EventTransition || e.Old != flow.StateFinWait2 || e.Successor == 0 {
				t.Fatalf("last event %+v, want one with a successor", e)
			}
			next := &flow.Sock{ID: flow.ID{Key: flow.Key{Addr: e.Successor}, Local: st.local, Peer: st.peer, NetNS: ns.inode}}
			if err := tr.Read([]*flow.Sock{next}, false); err != nil {
				t.Fatal(err)
			}
			st.timewait, st.orphan, st.role = true, true, flow.RoleUnknown
			st.socket = nil
			checkStuck(t, next, &st, ns)
		})
	}
}

func TestRetransmissionsOfPromotedSockets(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	seen := watching(ns)
	st := makeSynSent(t, ipv4)
	promoted := promotionOf(t, tr, seen, &st)
	// The first SYN is repeated after a second.
	eventually(t, "a retransmission", func() bool {
		seen.take(t, tr)
		events := seen.of(promoted.Key)
		return events[len(events)-1].Kind == flow.EventRetransmit
	})
	events := seen.of(promoted.Key)
	e := events[len(events)-1]
	if e.Old != flow.StateSynSent || e.New != flow.StateSynSent || e.Local != st.local || e.Peer != st.peer || e.Since != promoted.Since {
		t.Errorf("retransmission %+v, want one of %v to %v in syn_sent since %v", e, st.local, st.peer, promoted.Since)
	}
	if e.Time-e.Since < 900*time.Millisecond {
		t.Errorf("repeated %v after the first SYN, want a second", e.Time-e.Since)
	}
	sock := &flow.Sock{ID: flow.ID{Key: e.Key}}
	if err := tr.Read([]*flow.Sock{sock}, false); err != nil {
		t.Fatal(err)
	}
	if sock.Retransmits == 0 || sock.Expires < 0 || sock.Waiting < 900*time.Millisecond {
		t.Errorf("read %d retransmits, next in %v, waiting for %v", sock.Retransmits, sock.Expires, sock.Waiting)
	}
}

// Quick connections must not be told at all.
func TestHealthySocketsStayInTheKernel(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	seen := watching(ns)
	l := listen(t, ipv4, 16)
	for range 200 {
		client, server := pairWith(t, ipv4, l)
		client.close()
		server.read(0)
		server.close()
	}
	eventually(t, "the sockets out of their states", func() bool { return len(stuckIn(t, tr, ns)) == 0 })
	seen.age(t, tr)
	if len(seen.events) != 0 {
		t.Errorf("%d events about connections that are over, the first %+v", len(seen.events), seen.events[0])
	}
}

// stuckIn returns the sockets of a namespace that are in a watched state.
func stuckIn(t *testing.T, tr *Tracer, ns *namespace) []flow.Sock {
	t.Helper()
	return walk(t, tr, flow.WalkStates{States: stuckStates}, ns)
}

func walk(t *testing.T, tr *Tracer, want flow.WalkStates, ns *namespace) []flow.Sock {
	t.Helper()
	var socks []flow.Sock
	err := tr.Walk(want, func(s *flow.Sock) {
		if s.NetNS == ns.inode {
			socks = append(socks, *s)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return socks
}
