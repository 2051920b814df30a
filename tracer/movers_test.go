package tracer

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// moverOf is a socket as a reading shows it.
func moverOf(s flow.Sock) flow.Mover {
	return flow.Mover{
		Addr: s.Addr, Hash: s.Hash, Local: s.Local.Port(), Peer: s.Peer.Port(),
		SndUna: s.SndUna, RcvNxt: s.RcvNxt, CopiedSeq: s.CopiedSeq,
	}
}

func setAside(t *testing.T, tr *Tracer, s flow.Sock) uint32 {
	t.Helper()
	m := moverOf(s)
	place, ok := tr.SetAside(&m)
	if !ok {
		t.Fatalf("%v has no place", s.ID)
	}
	return place
}

// glanceAt looks at a socket, given what a reading before showed.
func glanceAt(t *testing.T, tr *Tracer, before flow.Sock) (is flow.MoverIs, s flow.Sock) {
	t.Helper()
	calls := 0
	err := tr.Glance([]flow.Mover{moverOf(before)}, func(i flow.MoverIs, sock *flow.Sock) {
		calls++
		is, s = i, *sock
	})
	if err != nil || calls != 1 {
		t.Fatalf("%d calls: %v", calls, err)
	}
	return is, s
}

// movers loads what sets sockets aside; nothing has to be attached.
func movers(t *testing.T) *Tracer { return load(t, Options{Established: true}) }

// What moved is told by its stamps, and what stopped or is gone by that alone.
func TestGlance(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			newNamespace(t)
			tr := movers(t)
			writer, reader := pair(t, f)
			writer.write(make([]byte, 100))
			before := readSocket(t, tr, reader)
			if is, _ := glanceAt(t, tr, before); is != flow.MoverStopped {
				t.Errorf("nothing moved: %v", is)
			}
			writer.write(make([]byte, 10))
			eventually(t, "10 bytes more", func() bool {
				s := readSocket(t, tr, reader)
				return s.Unread() == 110
			})
			if is, _ := glanceAt(t, tr, before); is != flow.MoverStopped {
				t.Errorf("more arrived and nothing was read: %v", is)
			}
			reader.read(1)
			is, s := glanceAt(t, tr, before)
			whole := readSocket(t, tr, reader)
			if is != flow.MoverMoved || s.Unread() != 109 || s.CopiedSeq != before.CopiedSeq+1 || s.Unsent()+s.Unacked() != 0 {
				t.Errorf("a byte was read: %v, %+v", is, s)
			}
			if s.SndUna != whole.SndUna || s.WriteSeq != whole.WriteSeq || s.SndNxt != whole.SndNxt || s.RcvNxt != whole.RcvNxt {
				t.Errorf("a glance says\n%+v, a reading\n%+v", s, whole)
			}
			if is, _ := glanceAt(t, tr, whole); is != flow.MoverStopped {
				t.Errorf("nothing was read since: %v", is)
			}
			other := before
			other.Hash++
			if is, _ := glanceAt(t, tr, other); is != flow.MoverGone {
				t.Errorf("what has another hash: %v", is)
			}
			writer.shutdown()
			reader.in(flow.StateCloseWait)
			if is, _ := glanceAt(t, tr, before); is != flow.MoverGone {
				t.Errorf("half closed: %v", is)
			}
		})
	}
}

// The probes of a closed window move nothing; what is acknowledged in part has moved.
func TestGlanceAtWhatIsSent(t *testing.T) {
	newNamespace(t)
	tr := movers(t)
	blocked, _ := pair(t, ipv4)
	blocked.fill()
	eventually(t, "a probe of a closed window", func() bool {
		s := readSocket(t, tr, blocked)
		return s.Pending == 3 && s.Limits.Probing >= 0
	})
	before := readSocket(t, tr, blocked)
	if is, _ := glanceAt(t, tr, before); is != flow.MoverStopped {
		t.Errorf("a closed window: %v", is)
	}
	before.SndUna--
	is, s := glanceAt(t, tr, before)
	whole := readSocket(t, tr, blocked)
	if is != flow.MoverMoved || s.Pending != 3 || s.Unacked() != 0 || s.Unsent() != whole.Unsent() || s.RTO != whole.RTO {
		t.Errorf("a closed window that was open: %v\n%+v\n%+v", is, s, whole)
	}
	for what, stamp := range map[string][2]time.Duration{
		"received": {s.LastReceive, whole.LastReceive}, "acknowledged": {s.LastAck, whole.LastAck},
		"sent": {s.LastSend, whole.LastSend}, "busy": {s.Busy, whole.Busy}, "probing": {s.Limits.Probing, whole.Limits.Probing},
	} {
		if stamp[0] < 0 || stamp[0] > stamp[1] || stamp[1] > stamp[0]+patience {
			t.Errorf("%s: a glance says %v, a reading after it %v", what, stamp[0], stamp[1])
		}
	}
	deafened, deaf := pair(t, ipv4)
	deaf.deafen()
	deafened.write(make([]byte, 5))
	before = readSocket(t, tr, deafened)
	if is, _ := glanceAt(t, tr, before); is != flow.MoverStopped {
		t.Errorf("not acknowledged: %v", is)
	}
	before.SndUna--
	if is, s := glanceAt(t, tr, before); is != flow.MoverMoved || s.Unacked() != 5 || s.Busy < 0 {
		t.Errorf("acknowledged in part: %v, %+v", is, s)
	}
}

// What Go maps of an array begins every 8 bytes (kernel/bpf/arraymap.c), and it counts in
// sizes of the type.
func TestMappedSizes(t *testing.T) {
	for name, size := range map[string]int{
		"values": valuesSize, "movers": moverRowSize, "glances": glanceSize, "syn_causes": causeSize, "young_cpus": ringStride,
	} {
		if size%8 != 0 {
			t.Errorf("%s: %d bytes", name, size)
		}
	}
}

// Each of many is told of for itself.
func TestGlanceAtMany(t *testing.T) {
	newNamespace(t)
	tr := movers(t)
	const n = 40
	var movers []flow.Mover
	for i := range n {
		writer, reader := pair(t, ipv4)
		writer.write(make([]byte, 10+i))
		eventually(t, "all of it", func() bool {
			s := readSocket(t, tr, reader)
			return s.Unread() == uint32(10+i)
		})
		movers = append(movers, moverOf(readSocket(t, tr, reader)))
		if i%2 == 0 {
			reader.read(1)
		}
	}
	next := 0
	err := tr.Glance(movers, func(is flow.MoverIs, s *flow.Sock) {
		want := flow.MoverStopped
		if next%2 == 0 {
			want = flow.MoverMoved
		}
		if is != want || (is == flow.MoverMoved && s.Unread() != uint32(9+next)) {
			t.Errorf("socket %d: %v, %d bytes unread, want %v", next, is, s.Unread(), want)
		}
		next++
	})
	if err != nil || next != n {
		t.Errorf("told of %d, want %d: %v", next, n, err)
	}
}

// A socket that is set aside is not handed out by walks for what waits, and counts in
// the queues as before; another one at its address is nobody's.
func TestWalkLeavesMovers(t *testing.T) {
	ns := newNamespace(t)
	tr := movers(t)
	writer, reader := pair(t, ipv4)
	writer.write(make([]byte, 100))
	blocked, _ := pair(t, ipv6)
	blocked.fill()
	want := flow.WalkStates{States: flow.StateEstablished.Bit(), Waiting: true, Quiet: time.Hour}
	eventually(t, "a closed window", func() bool { return readSocket(t, tr, blocked).SendWindow == 0 })
	found := func() []uint64 {
		var found []uint64
		for _, s := range walk(t, tr, want, ns) {
			found = append(found, s.Cookie)
		}
		return found
	}
	if got := found(); !slices.Contains(got, reader.cookie) || !slices.Contains(got, blocked.cookie) {
		t.Fatalf("found %d, want %d and %d among them", got, reader.cookie, blocked.cookie)
	}
	first, second := readSocket(t, tr, reader), readSocket(t, tr, blocked)
	place := setAside(t, tr, first)
	setAside(t, tr, second)
	if got := found(); slices.Contains(got, reader.cookie) || slices.Contains(got, blocked.cookie) {
		t.Errorf("found %d, set aside were %d and %d", got, reader.cookie, blocked.cookie)
	}
	if q, err := tr.WriteQueues(); err != nil || q.Unsent < uint64(second.Unsent()) {
		t.Errorf("what waits in a socket that is set aside is not added up: %+v, %v", q, err)
	}
	if at, ok := tr.Aside(first.ID); !ok || at != place {
		t.Errorf("it is at %d, %v, want %d", at, ok, place)
	}
	other := first
	other.Hash++
	if again := setAside(t, tr, other); again != place {
		t.Errorf("the address has place %d and got %d", place, again)
	}
	if got := found(); !slices.Contains(got, reader.cookie) {
		t.Error("what has another hash was taken for a socket that is set aside")
	}
	tr.TakeBack(place)
	tr.TakeBack(place)
	if _, ok := tr.Aside(first.ID); ok || tr.movers.count != 1 {
		t.Errorf("taken back: aside %v, %d left", ok, tr.movers.count)
	}
	if got := found(); !slices.Contains(got, reader.cookie) {
		t.Error("taken back, and not found")
	}
}

// Where a row is full, no more is set aside.
func TestMoversFull(t *testing.T) {
	tr := movers(t)
	m := &tr.movers
	row, set := m.rowOf(1<<20), 0
	for addr := uint64(1 << 20); set <= moverWays; addr += 64 {
		if m.rowOf(addr) != row {
			continue
		}
		set++
		if _, ok := tr.SetAside(&flow.Mover{Addr: addr}); ok != (set <= moverWays) {
			t.Fatalf("the %dth of a row of %d: %v", set, moverWays, ok)
		}
	}
	if m.count != uint32(moverWays) {
		t.Errorf("%d are set aside, want %d", m.count, moverWays)
	}
}
