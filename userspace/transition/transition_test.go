package transition

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

var wallAtBoot = time.Date(2026, 3, 9, 7, 5, 4, 0, time.UTC)

// fakeKernel answers readings with what is live.
type fakeKernel struct {
	live  map[uint64]flow.Sock
	err   error
	asked []flow.Key
}

func (k *fakeKernel) read(socks []*flow.Sock, track bool) error {
	if track {
		panic("trace tracks nothing")
	}
	for _, s := range socks {
		k.asked = append(k.asked, s.Key)
		is, ok := k.live[s.Addr]
		if !ok || is.Cookie != s.Cookie {
			*s = flow.Sock{ID: s.ID, Gone: true}
			continue
		}
		*s = is
	}
	return k.err
}

func local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)
}

func peer(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port)
}

// event is a transition of the socket at addr in the life cookie.
func event(addr, cookie uint64, at time.Duration, from, to flow.State) flow.Event {
	return flow.Event{
		Kind: flow.EventTransition, Time: at, Old: from, New: to,
		ID: flow.ID{Key: flow.Key{Addr: addr, Cookie: cookie}, Local: local(5000), Peer: peer(443)},
	}
}

func retransmission(addr, cookie uint64, at time.Duration, state flow.State) flow.Event {
	e := event(addr, cookie, at, state, state)
	e.Kind, e.Retransmits = flow.EventRetransmit, 3
	return e
}

// withPorts gives an event the local port; connects have none at first.
func withPort(e flow.Event, port uint16) flow.Event {
	e.Local = local(port)
	return e
}

func convert(t *testing.T, c *Converter, events ...flow.Event) []finding.Transition {
	t.Helper()
	var out []finding.Transition
	err := c.Convert(events, wallAtBoot, func(tr *finding.Transition) { out = append(out, *tr) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func localPorts(records []finding.Transition) []uint16 {
	var out []uint16
	for i := range records {
		out = append(out, records[i].Local.Port())
	}
	return out
}

const (
	closed, synSent, synRecv    = flow.StateClose, flow.StateSynSent, flow.StateSynRecv
	established, closeWait      = flow.StateEstablished, flow.StateCloseWait
	finWait1, finWait2, lastAck = flow.StateFinWait1, flow.StateFinWait2, flow.StateLastAck
)

func TestRecord(t *testing.T) {
	c := New(new(fakeKernel).read)
	e := event(1, 7, 90*time.Second, established, finWait1)
	e.Task = flow.Task{PID: 42, TID: 43, Comm: "curl"}
	r := convert(t, c, e, retransmission(1, 7, 91*time.Second, finWait1))
	if want := wallAtBoot.Add(90 * time.Second); !r[0].Time.Equal(want) {
		t.Errorf("at %v, want %v", r[0].Time, want)
	}
	if r[0].ID != e.ID || r[0].Old != established || r[0].New != finWait1 || r[0].Task != e.Task || r[0].Retransmit {
		t.Errorf("%+v", r[0])
	}
	if !r[1].Retransmit || r[1].Retransmits != 3 || r[1].Old != finWait1 || r[1].New != finWait1 {
		t.Errorf("%+v", r[1])
	}
}

func TestPorts(t *testing.T) {
	connect := withPort(event(1, 7, 1, closed, synSent), 0)
	live := func(addr, cookie uint64, port uint16) *fakeKernel {
		return &fakeKernel{live: map[uint64]flow.Sock{addr: {
			ID: flow.ID{Key: flow.Key{Addr: addr, Cookie: cookie}, Local: local(port)}, State: synSent,
		}}}
	}
	tests := []struct {
		name   string
		kernel *fakeKernel
		events []flow.Event
		want   []uint16
		asked  int
	}{
		{"from a later event", new(fakeKernel), []flow.Event{connect, event(1, 7, 2, synSent, established)}, []uint16{5000, 5000}, 0},
		{"from a retransmission", new(fakeKernel), []flow.Event{connect, retransmission(1, 7, 2, synSent)}, []uint16{5000, 5000}, 0},
		{"from the socket", live(1, 7, 5001), []flow.Event{connect}, []uint16{5001}, 1},
		{"the socket is gone", new(fakeKernel), []flow.Event{connect}, []uint16{0}, 1},
		{"another life has the address", live(1, 8, 5001), []flow.Event{connect}, []uint16{0}, 1},
		{"none was free", live(1, 7, 0), []flow.Event{connect}, []uint16{0}, 1},
		{
			"ended without one", new(fakeKernel),
			[]flow.Event{connect, withPort(event(1, 7, 2, synSent, closed), 0)},
			[]uint16{0, 0},
			1,
		},
		{
			"a later event of another life", live(1, 7, 5001),
			[]flow.Event{connect, event(1, 8, 2, established, closeWait)},
			[]uint16{5001, 5000},
			1,
		},
		{
			"two connects at one address", live(1, 8, 5002),
			[]flow.Event{connect, event(1, 7, 2, synSent, closed), withPort(event(1, 8, 3, closed, synSent), 0)},
			[]uint16{5000, 5000, 5002},
			1,
		},
		{
			"two addresses", live(2, 9, 5003),
			[]flow.Event{connect, withPort(event(2, 9, 2, closed, synSent), 0), event(1, 7, 3, synSent, established)},
			[]uint16{5000, 5003, 5000},
			1,
		},
		{"bound before", new(fakeKernel), []flow.Event{withPort(connect, 99)}, []uint16{99}, 0},
		{
			// A listener's child, before the port is copied: nothing to ask for.
			"other states are not asked for", new(fakeKernel),
			[]flow.Event{withPort(event(1, 7, 1, flow.StateListen, synRecv), 0)},
			[]uint16{0},
			0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := New(tt.kernel.read)
			if got := localPorts(convert(t, c, tt.events...)); !slices.Equal(got, tt.want) {
				t.Errorf("ports %v, want %v", got, tt.want)
			}
			if len(tt.kernel.asked) != tt.asked {
				t.Errorf("asked for %v, want %d sockets", tt.kernel.asked, tt.asked)
			}
		})
	}
}

// A connect has no local address either before it is routed.
func TestAddressComesWithThePort(t *testing.T) {
	connect := event(1, 7, 1, closed, synSent)
	connect.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	r := convert(t, New(new(fakeKernel).read), connect, event(1, 7, 2, synSent, established))
	if r[0].Local != local(5000) {
		t.Errorf("from %v, want %v", r[0].Local, local(5000))
	}
}

// What passed the kernel's filter for want of a port is looked at again.
func TestFiltersOnLatePorts(t *testing.T) {
	connect := func(addr, cookie uint64) flow.Event { return withPort(event(addr, cookie, 1, closed, synSent), 0) }
	events := func() []flow.Event {
		return []flow.Event{
			connect(1, 7), connect(2, 8), connect(3, 9),
			withPort(event(1, 7, 2, synSent, established), 100), withPort(event(2, 8, 2, synSent, established), 200),
		}
	}
	tests := []struct {
		name            string
		localPort, port uint16
		want            []uint16
	}{
		{"no filter", 0, 0, []uint16{100, 200, 0, 100, 200}},
		{"the local port", 100, 0, []uint16{100, 100}},
		{"either port", 0, 200, []uint16{200, 200}},
		{"the peer's port", 0, 443, []uint16{100, 200, 0, 100, 200}},
		{"both", 100, 443, []uint16{100, 100}},
		{"neither", 300, 0, nil},
	}
	for _, tt := range tests {
		c := New(new(fakeKernel).read)
		c.LocalPort, c.Port = tt.localPort, tt.port
		if got := localPorts(convert(t, c, events()...)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestReadFails(t *testing.T) {
	broken := errors.New("broken")
	c := New((&fakeKernel{err: broken}).read)
	events := []flow.Event{withPort(event(1, 7, 1, closed, synSent), 0)}
	if err := c.Convert(events, wallAtBoot, func(*finding.Transition) {}); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
