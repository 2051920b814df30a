package tracer

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Where the kernel side runs out of room, sockets may be told late or untracked,
// but none is lost, and the loss is counted.

// closeWaits leaves n sockets in CLOSE_WAIT and returns their cookies.
func closeWaits(t *testing.T, n int) map[uint64]bool {
	t.Helper()
	l := listen(t, ipv4, 16)
	cookies := map[uint64]bool{}
	for range n {
		client, server := pairWith(t, ipv4, l)
		client.shutdown()
		server.in(flow.StateCloseWait)
		cookies[server.cookie] = true
	}
	return cookies
}

// unannounced returns how many of the sockets were not announced.
func unannounced(s *seen, cookies map[uint64]bool) int {
	announced := map[uint64]bool{}
	for _, e := range s.events {
		if e.Kind == flow.EventPromoted {
			announced[e.Cookie] = true
		}
	}
	n := 0
	for cookie := range cookies {
		if !announced[cookie] {
			n++
		}
	}
	return n
}

func statsOf(t *testing.T, tr *Tracer) flow.Stats {
	t.Helper()
	stats, err := tr.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// A young generation that comes round long before it is looked at.
func TestRingOfTwoSlotsLosesNothing(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates, YoungSlots: 2})
	seen := watching(ns)
	cookies := closeWaits(t, 100)
	if statsOf(t, tr).YoungOverrun == 0 {
		t.Error("no slot was looked at early: the test made no overrun")
	}
	seen.age(t, tr)
	if n := unannounced(seen, cookies); n != 0 {
		t.Errorf("%d of %d sockets were not announced", n, len(cookies))
	}
}

// A softirq while a slot is being written: the ring is busy, and another takes over.
func TestBusyRing(t *testing.T) {
	f := newForge(t).in(t)
	seen := watching(f.ns)
	for ring := range uint32(f.tr.cpus) {
		f.cpu(ring, func(y *limboYoungCpu) { y.Busy = 1 })
	}
	if err := f.tr.Attach(); err != nil {
		t.Fatal(err)
	}
	cookies := closeWaits(t, 10)
	if err := f.tr.Detach(); err != nil {
		t.Fatal(err)
	}
	for ring := range uint32(f.tr.cpus) {
		if y := f.ring(ring); y.Head != 0 {
			t.Errorf("a busy ring was written to: %+v", y)
		}
	}
	seen.age(t, f.tr)
	if n := unannounced(seen, cookies); n != 0 {
		t.Errorf("%d of %d sockets were not announced", n, len(cookies))
	}
}

func TestOldGenerationFull(t *testing.T) {
	ns := newNamespace(t)
	const room, sockets = 4, 20
	tr := attached(t, Options{Watch: stuckStates, MaxPromoted: room})
	seen := watching(ns)
	cookies := closeWaits(t, sockets)
	seen.age(t, tr)
	if n := unannounced(seen, cookies); n != 0 {
		t.Errorf("%d of %d sockets were not announced", n, sockets)
	}
	untracked := 0
	for _, e := range seen.events {
		if e.Untracked {
			untracked++
		}
	}
	// Each connection has another end, in FIN_WAIT2; the host may have sockets too.
	if untracked < 2*sockets-room {
		t.Errorf("%d sockets announced as untracked, want at least %d", untracked, 2*sockets-room)
	}
	stats := statsOf(t, tr)
	if stats.Tracked > room || stats.PromotedFull < uint64(untracked) {
		t.Errorf("%d tracked in room for %d, %d counted as untracked, want %d", stats.Tracked, room, stats.PromotedFull, untracked)
	}
	// Reading them with the wish to track says the same.
	for _, s := range stuckIn(t, tr, ns) {
		if err := tr.Read([]*flow.Sock{&s}, true); err != nil {
			t.Fatal(err)
		}
		if _, _, tracked := tr.Recall(s.Key); s.Untracked == tracked {
			t.Errorf("socket %#x: untracked %v, in the old generation %v", s.Cookie, s.Untracked, tracked)
		}
	}
}

func TestRingBufferFull(t *testing.T) {
	ns := newNamespace(t)
	const sockets = 100
	// Room for some 30 events.
	tr := attached(t, Options{Watch: stuckStates, RingBytes: 4096})
	seen := watching(ns)
	cookies := closeWaits(t, sockets)
	// Nobody reads while the sockets are promoted.
	if err := tr.Age(0, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	seen.take(t, tr)
	lost := unannounced(seen, cookies)
	if lost == 0 {
		t.Fatal("4096 bytes held 200 events")
	}
	stats := statsOf(t, tr)
	if stats.RingFull < uint64(lost) {
		t.Errorf("%d events lost, %d counted", lost, stats.RingFull)
	}
	// The remedy is a walk, and what it finds is tracked already.
	found := 0
	for _, s := range walk(t, tr, flow.WalkStates{States: flow.StateCloseWait.Bit()}, ns) {
		if _, _, ok := tr.Recall(s.Key); ok && cookies[s.Cookie] {
			found++
		}
	}
	if found != sockets {
		t.Errorf("a walk finds %d of %d sockets in the old generation", found, sockets)
	}
}

// A socket that no event announced is tracked from the moment it is read.
func TestReadTracks(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	if err := tr.Detach(); err != nil {
		t.Fatal(err)
	}
	st := makeCloseWait(t, ipv4)
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	seen := watching(ns)
	s := find(t, tr, st.cookie)
	if err := tr.Read([]*flow.Sock{&s}, false); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := tr.Recall(s.Key); ok {
		t.Fatal("in the old generation, and nobody asked for it")
	}
	for range 2 {
		if err := tr.Read([]*flow.Sock{&s}, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, since, ok := tr.Recall(s.Key); !ok || since != 0 {
		t.Fatalf("in the old generation %v, since %v; want true and not known", ok, since)
	}
	st.socket.close()
	seen.take(t, tr)
	events := seen.of(s.Key)
	if len(events) == 0 || events[0].Kind != flow.EventTransition || events[0].Old != flow.StateCloseWait || events[0].Since != 0 {
		t.Errorf("events %+v, want the end of close_wait, since not known", events)
	}
}

// An ESTABLISHED socket is not watched, so reading it tracks nothing.
func TestReadTracksWatchedStatesOnly(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	client, _ := pair(t, ipv4)
	s := find(t, tr, client.cookie)
	gone := &flow.Sock{ID: s.ID}
	gone.Cookie++
	if err := tr.Read([]*flow.Sock{&s, gone}, true); err != nil {
		t.Fatal(err)
	}
	if n := statsOf(t, tr).Tracked; n != 0 {
		t.Errorf("%d sockets tracked, want none", n)
	}
}
