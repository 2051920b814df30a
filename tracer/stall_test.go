package tracer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// deafen makes a socket drop what arrives, as if it came no further than the network.
func (s *socket) deafen() {
	s.t.Helper()
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	if err != nil {
		s.t.Fatalf("attaching a filter: %v", err)
	}
}

func cookies(socks []flow.Sock) map[uint64]flow.Sock {
	m := map[uint64]flow.Sock{}
	for _, s := range socks {
		m[s.Cookie] = s
	}
	return m
}

// Of ESTABLISHED sockets a walk can be asked for those where something waits.
func TestWalkWaiting(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	idle, idlePeer := pair(t, ipv4)
	idle.write(make([]byte, 10))
	idlePeer.read(10)
	idlePeer.setInt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	writer, reader := pair(t, ipv6)
	writer.write(make([]byte, 77))
	blocked, full := pair(t, mapped)
	blocked.fill()
	lost, deaf := pair(t, ipv4)
	deaf.deafen()
	lost.write(make([]byte, 5))
	l := listen(t, ipv4, 8)
	client := newSocket(t, ipv4)
	client.connect(l.local())

	want := flow.WalkStates{States: flow.StateEstablished.Bit(), Waiting: true, Quiet: time.Hour}
	var got map[uint64]flow.Sock
	eventually(t, "a closed window and a retransmission", func() bool {
		got = cookies(walk(t, tr, want, ns))
		return got[blocked.cookie].Pending == 3 && got[lost.cookie].Retransmits > 0
	})
	if len(got) != 5 {
		t.Errorf("found %d sockets, want 5: %+v", len(got), got)
	}
	if s := got[reader.cookie]; s.Unread() != 77 || s.Busy >= 0 || s.ReceiveMemory == 0 || s.ReceiveBuffer < s.ReceiveMemory {
		t.Errorf("unread: %d bytes, busy %v, %d of %d", s.Unread(), s.Busy, s.ReceiveMemory, s.ReceiveBuffer)
	}
	if s := got[blocked.cookie]; s.SendWindow != 0 || s.Unsent() == 0 || s.Busy < 0 || s.Busy > patience {
		t.Errorf("closed window: %d, %d bytes unsent, busy %v", s.SendWindow, s.Unsent(), s.Busy)
	}
	if s := got[full.cookie]; s.ReceiveMemory < s.ReceiveBuffer/2 {
		t.Errorf("a full buffer: %d of %d", s.ReceiveMemory, s.ReceiveBuffer)
	}
	if s := got[lost.cookie]; s.Unacked() != 5 || s.Busy < s.LastSend || s.Busy > patience {
		t.Errorf("unacknowledged: %d bytes, busy %v", s.Unacked(), s.Busy)
	}
	q, err := tr.WriteQueues()
	if err != nil {
		t.Fatal(err)
	}
	// The whole host's, ours among them.
	if unsent := got[blocked.cookie]; q.Sockets < 2 || q.Unacked < 5 || q.Unsent < uint64(unsent.Unsent()) ||
		q.Quiet <= 0 || q.Busy < q.Quiet {
		t.Errorf("added up %+v", q)
	}
	checkPairs(t, q, ns.inode, got[blocked.cookie], got[lost.cookie])
	unaccepted := 0
	for _, s := range got {
		if !s.HasSocket && s.Peer == unmapped(client.local()) {
			unaccepted++
		}
	}
	if unaccepted != 1 {
		t.Errorf("found %d that nobody accepted", unaccepted)
	}

	// Those that idle and have no keepalive, once they have idled for so long.
	want.Idle = 50 * time.Millisecond
	eventually(t, "an idle connection", func() bool {
		got = cookies(walk(t, tr, want, ns))
		_, ok := got[idle.cookie]
		return ok
	})
	if _, ok := got[idlePeer.cookie]; ok {
		t.Error("found an idle connection with keepalive")
	}
	want.Idle = time.Hour
	if _, ok := cookies(walk(t, tr, want, ns))[idle.cookie]; ok {
		t.Error("found a connection as idle for an hour")
	}
}

// checkPairs compares the queues by service and peer with those of the sockets:
// both connected, from a port that is left out.
func checkPairs(t *testing.T, q flow.WriteQueues, ns uint32, blocked, lost flow.Sock) {
	t.Helper()
	for _, s := range []flow.Sock{blocked, lost} {
		pair := flow.Pair{Local: netip.AddrPortFrom(s.Local.Addr(), 0), Peer: s.Peer, NetNS: ns}
		i := slices.IndexFunc(q.Pairs, func(w flow.WriteQueue) bool { return w.Pair == pair })
		if i < 0 {
			t.Errorf("no pair %+v in %+v", pair, q.Pairs)
			continue
		}
		w := q.Pairs[i]
		if w.Sockets != 1 || w.Unacked != uint64(s.Unacked()) || w.Unsent != uint64(s.Unsent()) || w.Sample != s.Key || !w.Client() {
			t.Errorf("pair %+v is not that of %+v", w, s)
		}
		if w.Undrained < 0 || w.Undrained > patience {
			t.Errorf("undrained for %v", w.Undrained)
		}
	}
	if lost.MinRTT <= 0 || lost.MinRTT > lost.SRTT*2 {
		t.Errorf("shortest round trip %v, smoothed %v", lost.MinRTT, lost.SRTT)
	}
}

// A socket that keeps retransmitting is told of before any walk finds it, and is
// tracked once that is asked for.
func TestRetransmissionsAreTold(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates, Established: true})
	lost, deaf := pair(t, ipv4)
	deaf.deafen()
	lost.write(make([]byte, 5))
	w := watching(ns)
	told := func() *flow.Event {
		w.take(t, tr)
		for i := range w.events {
			if e := &w.events[i]; e.Cookie == lost.cookie && e.Kind == flow.EventRetransmit {
				return e
			}
		}
		return nil
	}
	eventually(t, "an event of a retransmission", func() bool { return told() != nil })
	if e := told(); e.Old != flow.StateEstablished || e.New != e.Old || e.Retransmits < 3 ||
		e.Local != unmapped(lost.local()) || e.Peer != unmapped(deaf.local()) {
		t.Errorf("event %+v", *e)
	}
	s := &flow.Sock{ID: told().ID}
	if err := tr.Read([]*flow.Sock{s}, true); err != nil || s.Gone || s.Untracked || s.State != flow.StateEstablished {
		t.Fatalf("read %+v, %v", s, err)
	}
	lost.close()
	ended := func() bool {
		w.take(t, tr)
		for _, e := range w.of(s.Key) {
			if e.Kind == flow.EventTransition && e.Old == flow.StateEstablished {
				return true
			}
		}
		return false
	}
	eventually(t, "the event of its end", ended)
}

// Without --established nothing is told of them, and none is tracked.
func TestRetransmissionsAreNotTold(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	lost, deaf := pair(t, ipv4)
	deaf.deafen()
	lost.write(make([]byte, 5))
	w := watching(ns)
	eventually(t, "three retransmissions", func() bool { return lost.info().Retransmits > 3 })
	w.take(t, tr)
	s := &flow.Sock{ID: flow.ID{}}
	for _, found := range walk(t, tr, flow.WalkStates{States: flow.StateEstablished.Bit()}, ns) {
		if found.Cookie == lost.cookie {
			s.ID = found.ID
		}
	}
	if err := tr.Read([]*flow.Sock{s}, true); err != nil || s.Gone {
		t.Fatalf("read %+v, %v", s, err)
	}
	lost.close()
	w.take(t, tr)
	if got := w.of(s.Key); len(got) != 0 {
		t.Errorf("events %+v", got)
	}
}
