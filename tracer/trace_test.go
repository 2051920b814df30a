package tracer

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// scene is what all tracers of a test see at once: connections of each family from
// birth to end, and one that is refused.
type scene struct {
	// local is the client's address, peer the server's.
	local, peer netip.AddrPort
}

func play(t *testing.T) []scene {
	t.Helper()
	var scenes []scene
	for _, f := range families {
		// The namespace is ours: nobody listens on port 1.
		refused := newSocket(t, f)
		if err := unix.Connect(refused.fd, sockaddr(netip.AddrPortFrom(f.bind.Addr(), 1))); err != unix.ECONNREFUSED {
			t.Fatalf("connecting where nobody listens: %v", err)
		}
		scenes = append(scenes, life(t, f))
	}
	return scenes
}

// life is a connection from birth to end.
func life(t *testing.T, f family) scene {
	t.Helper()
	client, server := pair(t, f)
	s := scene{unmapped(client.local()), unmapped(server.local())}
	client.close()
	server.read(0)
	server.close()
	return s
}

// told is one event, without what differs between two who saw it.
type told struct {
	kind     flow.EventKind
	old, new flow.State
	key      flow.Key
	local    netip.AddrPort
	peer     netip.AddrPort
	pid      uint32
	err      int32
}

func tell(e flow.Event) told {
	return told{e.Kind, e.Old, e.New, e.Key, e.Local, e.Peer, e.Task.PID, e.Err}
}

func TestTraceFilters(t *testing.T) {
	ns := newNamespace(t)
	me := uint32(os.Getpid())
	const port = 4001
	onPort := func(e flow.Event, p uint16) bool { return e.Local.Port() == p || e.Local.Port() == 0 }
	six := func(e flow.Event) bool { return e.Peer.Addr().Is6() }
	tests := []struct {
		name  string
		trace Trace
		want  func(flow.Event) bool
	}{
		{"left or entered", Trace{States: flow.StateSynSent.Bit()}, func(e flow.Event) bool {
			return e.Old == flow.StateSynSent || e.New == flow.StateSynSent
		}},
		{"left", Trace{Old: flow.StateEstablished.Bit() | flow.StateLastAck.Bit()}, func(e flow.Event) bool {
			return e.Old == flow.StateEstablished || e.Old == flow.StateLastAck
		}},
		{"entered", Trace{New: flow.StateClose.Bit()}, func(e flow.Event) bool { return e.New == flow.StateClose }},
		{"process", Trace{PID: me}, func(e flow.Event) bool { return e.Task.PID == me }},
		{"another process", Trace{PID: me + 1}, func(flow.Event) bool { return false }},
		{"port", Trace{Port: port}, func(e flow.Event) bool { return onPort(e, port) || e.Peer.Port() == port }},
		{"local port", Trace{LocalPort: port}, func(e flow.Event) bool { return onPort(e, port) }},
		{"peer port", Trace{PeerPort: port}, func(e flow.Event) bool { return e.Peer.Port() == port }},
		{"IPv4", Trace{IPv4Only: true}, func(e flow.Event) bool { return !six(e) }},
		{"IPv6", Trace{IPv6Only: true}, six},
		{"an IPv4 network", Trace{Net: netip.MustParsePrefix("127.0.0.0/9")}, inNet("127.0.0.0/9")},
		{"an IPv4 network where nothing is", Trace{Net: netip.MustParsePrefix("127.128.0.0/9")}, inNet("127.128.0.0/9")},
		{"an IPv6 address", Trace{Net: netip.MustParsePrefix("::1/128")}, inNet("::1/128")},
		{"no retransmissions", Trace{NoRetransmits: true}, func(flow.Event) bool { return true }},
	}
	traces := []*Trace{{}}
	for _, tt := range tests {
		traces = append(traces, &tt.trace)
	}
	all := watchScene(t, ns, traces, func() {
		play(t)
		f := ipv4
		f.bind = netip.AddrPortFrom(ipv4.bind.Addr(), port)
		life(t, f)
	})
	for i, tt := range tests {
		var want, got []told
		for _, e := range all[0] {
			if tt.want(e) {
				want = append(want, tell(e))
			}
		}
		for _, e := range all[i+1] {
			got = append(got, tell(e))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d events, want %d of %d:\n%+v\nwant\n%+v", tt.name, len(got), len(want), len(all[0]), got, want)
		}
	}
}

// watchScene plays to several tracers at once and returns what each told of this
// namespace. It plays again if one of them lost something: what else the host does
// goes through the same ring buffers.
func watchScene(t *testing.T, ns *namespace, traces []*Trace, play func()) (events [][]flow.Event) {
	t.Helper()
	var trs []*Tracer
	for _, trace := range traces {
		trs = append(trs, load(t, Options{Trace: trace, RingBytes: 4 << 20}))
	}
	eventually(t, "a scene without loss", func() bool {
		before := lossesOf(t, trs)
		for _, tr := range trs {
			if err := tr.Attach(); err != nil {
				t.Fatal(err)
			}
		}
		play()
		for _, tr := range trs {
			if err := tr.Detach(); err != nil {
				t.Fatal(err)
			}
		}
		events = nil
		for _, tr := range trs {
			seen := watching(ns)
			seen.take(t, tr)
			events = append(events, seen.events)
		}
		return lossesOf(t, trs) == before
	})
	return events
}

func lossesOf(t *testing.T, trs []*Tracer) (n uint64) {
	t.Helper()
	for _, tr := range trs {
		n += statsOf(t, tr).RingFull
	}
	return n
}

func inNet(s string) func(flow.Event) bool {
	prefix := netip.MustParsePrefix(s)
	return func(e flow.Event) bool {
		return prefix.Contains(e.Local.Addr()) || prefix.Contains(e.Peer.Addr())
	}
}

// step is a change of state of one socket.
type step struct{ old, new flow.State }

func TestTraceTellsWholeLives(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Trace: &Trace{NoRetransmits: true}})
	seen := watching(ns)
	scenes := play(t)
	clientSteps := []step{
		{flow.StateClose, flow.StateSynSent},
		{flow.StateSynSent, flow.StateEstablished},
		{flow.StateEstablished, flow.StateFinWait1},
		{flow.StateFinWait1, flow.StateFinWait2},
		{flow.StateFinWait2, flow.StateClose},
	}
	serverSteps := []step{
		{flow.StateSynRecv, flow.StateEstablished},
		{flow.StateEstablished, flow.StateCloseWait},
		{flow.StateCloseWait, flow.StateLastAck},
		{flow.StateLastAck, flow.StateClose},
	}
	for _, s := range scenes {
		eventually(t, "the end of a connection", func() bool {
			seen.take(t, tr)
			return len(endOf(seen, s.peer, s.local)) >= len(serverSteps) && len(endOf(seen, s.local, s.peer)) >= len(clientSteps)
		})
		checkLife(t, endOf(seen, s.local, s.peer), clientSteps, s.local, s.peer)
		checkLife(t, endOf(seen, s.peer, s.local), serverSteps, s.peer, s.local)
	}
}

// endOf returns the events of one end of a connection. Not all have a cookie on
// 5.10; a connect begins without a port.
func endOf(s *seen, local, peer netip.AddrPort) []flow.Event {
	return slices.DeleteFunc(slices.Clone(s.events), func(e flow.Event) bool {
		ours := e.Peer == peer && (e.Local == local || e.Local.Port() == 0)
		return !ours || e.Old == flow.StateListen
	})
}

func checkLife(t *testing.T, events []flow.Event, want []step, local, peer netip.AddrPort) {
	t.Helper()
	var got []step
	for _, e := range events {
		got = append(got, step{e.Old, e.New})
		// A connect begins before it has a port, and maybe an address.
		if e.Peer != peer || (e.Local != local && e.New != flow.StateSynSent) {
			t.Errorf("%v to %v of %v to %v, want %v to %v", e.Old, e.New, e.Local, e.Peer, local, peer)
		}
		mine := e.New == flow.StateSynSent || e.New == flow.StateFinWait1 || e.New == flow.StateLastAck
		if own := e.Task.PID == uint32(os.Getpid()); own != mine || e.Task.Known() != mine {
			t.Errorf("%v to %v done by %+v; our own doing: %v", e.Old, e.New, e.Task, mine)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps of %v: %v, want %v", local, got, want)
	}
	for i := 1; i < len(events); i++ {
		if events[i].Time < events[i-1].Time {
			t.Errorf("step %v at %v, after one at %v", got[i], events[i].Time, events[i-1].Time)
		}
	}
}

// Where transitions are left out, the kernel side says how long a state lasted.
func TestTraceAges(t *testing.T) {
	ns := newNamespace(t)
	var client scene
	traces := []*Trace{{}, {Old: flow.StateEstablished.Bit()}}
	all := watchScene(t, ns, traces, func() { client = life(t, ipv6) })
	var entered time.Duration
	for _, e := range all[0] {
		if e.Local == client.local && e.New == flow.StateEstablished {
			entered = e.Time
		}
	}
	events := all[1]
	i := slices.IndexFunc(events, func(e flow.Event) bool { return e.Local == client.local })
	if i < 0 || entered == 0 {
		t.Fatalf("no end of established: %+v, entered at %v", events, entered)
	}
	// Two programs see the same transition one after the other.
	if d := events[i].Since - entered; d < -time.Millisecond || d > time.Millisecond {
		t.Errorf("established since %v, entered at %v", events[i].Since, entered)
	}
}

func TestTraceRetransmissionsOnly(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Trace: &Trace{RetransmitsOnly: true}})
	seen := watching(ns)
	st := makeSynSent(t, ipv4)
	eventually(t, "a retransmission", func() bool {
		seen.take(t, tr)
		return len(seen.events) > 0
	})
	e := seen.events[0]
	if e.Kind != flow.EventRetransmit || e.Old != flow.StateSynSent || e.New != flow.StateSynSent || e.Local != st.local || e.Peer != st.peer {
		t.Errorf("told %+v, want a retransmission of %v to %v", e, st.local, st.peer)
	}
}
