package tracer

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// What a slot says must still be so for its socket to be promoted.
func TestSettle(t *testing.T) {
	forge := newForge(t)
	tests := []struct {
		name   string
		make   func(testing.TB, family) stuck
		slot   flow.State
		change func(*slot)
		want   bool
	}{
		{"close_wait as it is", makeCloseWait, flow.StateCloseWait, func(*slot) {}, true},
		{"another cookie", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.Cookie++ }, false},
		{"another state", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.State = uint8(flow.StateLastAck) }, false},
		{"fin_wait_1 that is fin_wait_2 now", makeHalfClosed, flow.StateFinWait1, func(*slot) {}, true},
		{"the same with another cookie", makeHalfClosed, flow.StateFinWait1, func(s *slot) { s.Cookie++ }, false},
		{"close_wait that is fin_wait_2 now", makeHalfClosed, flow.StateFinWait1, func(s *slot) { s.State = uint8(flow.StateCloseWait) }, false},
		{"no cookie, same connection", makeHalfClosed, flow.StateFinWait1, func(s *slot) { s.Cookie = 0 }, true},
		{"no cookie, other ports", makeHalfClosed, flow.StateFinWait1, func(s *slot) { s.Cookie, s.tuple.Portpair = 0, ^s.tuple.Portpair }, false},
		{"no cookie, another namespace", makeHalfClosed, flow.StateFinWait1, func(s *slot) { s.Cookie, s.tuple.Net = 0, s.tuple.Net+64 }, false},
		{"syn_sent as it is", makeSynSent, flow.StateSynSent, func(*slot) {}, true},
		{"fin_wait_1 as it is", makeFinWait1, flow.StateFinWait1, func(*slot) {}, true},
		{"last_ack as it is", makeLastAck, flow.StateLastAck, func(*slot) {}, true},
		{"a minisocket took over", makeOrphan, flow.StateFinWait1, func(*slot) {}, true},
		{"the same, its table to be looked up", makeOrphan, flow.StateFinWait1, func(s *slot) { s.tuple.Ehash = 0 }, true},
		{"the same, no cookie", makeOrphan, flow.StateFinWait1, func(s *slot) { s.Cookie = 0 }, true},
		{"a minisocket of another hash", makeOrphan, flow.StateFinWait1, func(s *slot) { s.tuple.Hash ^= 1 << 31 }, false},
		{"a minisocket of other ports", makeOrphan, flow.StateFinWait1, func(s *slot) { s.tuple.Portpair = ^s.tuple.Portpair }, false},
		{"a minisocket of another namespace", makeOrphan, flow.StateFinWait1, func(s *slot) { s.tuple.Net += 64 }, false},
		{"a minisocket, but not of a close", makeOrphan, flow.StateFinWait1, func(s *slot) { s.State = uint8(flow.StateCloseWait) }, false},
		{"a minisocket that was noted", makeOrphan, flow.StateFinWait1, noted, true},
		{"another minisocket than was noted", makeOrphan, flow.StateFinWait1, func(s *slot) { noted(s); s.Cookie++ }, false},
		{"noted, but no minisocket", makeHalfClosed, flow.StateFinWait1, noted, false},
		{"noted, an address where nothing is", makeOrphan, flow.StateFinWait1, func(s *slot) { noted(s); s.Sk = 0xffff_ffff_ffff_f000 }, false},
		{"no socket", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.Sk = 0 }, false},
		{"an address of user space", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.Sk = 0x1000 }, false},
		{"no address at all", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.Sk = 0xdead_0000_0000_0000 }, false},
		{"an address where nothing is", makeCloseWait, flow.StateCloseWait, func(s *slot) { s.Sk = 0xffff_ffff_ffff_f000 }, false},
		{"a table that is no address", makeOrphan, flow.StateFinWait1, func(s *slot) { s.tuple.Ehash = 0xdead_0000_0000_0000 }, false},
	}
	for _, fam := range families {
		for _, tt := range tests {
			t.Run(fam.name+" "+tt.name, func(t *testing.T) {
				f := forge.in(t)
				st, s := f.recorded(tt.make, fam, tt.slot)
				if st.timewait {
					s.minisocket = find(t, f.tr, st.cookie).Addr
				}
				tt.change(&s)
				f.write(s)
				events := f.age()
				if !tt.want {
					if len(events) != 0 || len(f.promoted()) != 0 {
						t.Errorf("promoted: %+v", events)
					}
					return
				}
				checkSettled(t, f, events, &st, s)
			})
		}
	}
}

// noted makes the slot one whose socket was handed over to a minisocket.
func noted(s *slot) {
	s.State = uint8(flow.StateTimeWait)
	if s.minisocket != 0 {
		s.Sk = s.minisocket // before 6.1 that is left to ageing
	}
}

func checkSettled(t *testing.T, f *forge, events []flow.Event, st *stuck, s slot) {
	t.Helper()
	if len(events) != 1 || events[0].Kind != flow.EventPromoted {
		t.Fatalf("events %+v, want a promotion", events)
	}
	e := events[0]
	if e.New != st.state || e.TimeWait != st.timewait || e.Untracked {
		t.Errorf("promoted in %v, minisocket %v, untracked %v", e.New, e.TimeWait, e.Untracked)
	}
	if !st.timewait && e.Addr != s.Sk {
		t.Errorf("promoted %#x, the slot had %#x", e.Addr, s.Sk)
	}
	if st.timewait {
		// It makes no transitions, so the old generation does not hold it.
		if stats := f.stats(); stats.Promoted != 1 || stats.Tracked != 0 || e.Task.PID != s.Pid {
			t.Errorf("counted %d promoted, %d tracked, want 1 and 0; by %+v", stats.Promoted, stats.Tracked, e.Task)
		}
		return
	}
	if e.Task.PID != s.Pid {
		t.Errorf("done by process %d, the slot had %d", e.Task.PID, s.Pid)
	}
	// A minisocket makes no transitions: the old generation has no use for it.
	tracked := uint64(1)
	if st.timewait {
		tracked = 0
	}
	opener, since, ok := f.tr.Recall(e.Key)
	if ok == st.timewait || ok && (since != e.Since || opener != e.Task) {
		t.Errorf("recalled %+v since %v (%v), announced %+v since %v", opener, since, ok, e.Task, e.Since)
	}
	if stats := f.stats(); stats.Promoted != 1 || stats.Tracked != tracked {
		t.Errorf("counted %d promoted, %d tracked, want 1 and %d", stats.Promoted, stats.Tracked, tracked)
	}
}

func TestAgeLeavesWhatIsYoung(t *testing.T) {
	f := newForge(t).in(t)
	_, s := f.recorded(makeCloseWait, ipv4, flow.StateCloseWait)
	old := s
	// A day ahead of any clock.
	s.Jiffies += 24 * 3600 * 1000
	f.write(s, old)
	if events := f.age(); len(events) != 0 || f.tail() != 0 {
		t.Fatalf("looked at a slot that is too young, or past it: %+v, tail %d", events, f.tail())
	}
	f.write(old, s)
	if events := f.age(); len(events) != 1 || f.tail() != 1 {
		t.Fatalf("events %+v and tail %d, want one and to stop before the second slot", events, f.tail())
	}
	// How old is old is what the caller says.
	f.write(old)
	if err := f.tr.Age(time.Hour, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if f.tail() != 0 {
		t.Error("looked at a slot that is not an hour old")
	}
}

func TestAgeSkipsSlotsOfAnotherLap(t *testing.T) {
	f := newForge(t).in(t)
	_, s := f.recorded(makeCloseWait, ipv4, flow.StateCloseWait)
	f.write(s)
	lap := s
	lap.Seq = 1 + forgeSlots
	f.put(0, lap)
	if events := f.age(); len(events) != 0 || f.tail() != 1 {
		t.Errorf("events %+v, tail %d; want none and 1: the slot belongs to another lap", events, f.tail())
	}
}

// The tail may be more than a ring behind: what was overwritten was looked at then.
func TestAgeCatchesUp(t *testing.T) {
	f := newForge(t).in(t)
	_, s := f.recorded(makeCloseWait, ipv4, flow.StateCloseWait)
	f.write()
	const head = uint64(3*forgeSlots + 5)
	s.Seq = head
	f.put(uint32((head-1)%forgeSlots), s)
	f.cpu(0, func(y *limboYoungCpu) { y.Head = head })
	if events := f.age(); len(events) != 1 || f.tail() != head {
		t.Errorf("events %+v, tail %d; want one and %d", events, f.tail(), head)
	}
}

// A slot that was looked at may be given back at the same moment: the tail is
// ahead then, and what comes next is looked at nevertheless.
func TestAgeAfterGivingBack(t *testing.T) {
	f := newForge(t).in(t)
	_, s := f.recorded(makeCloseWait, ipv4, flow.StateCloseWait)
	f.write()
	f.cpu(0, func(y *limboYoungCpu) { y.Head, y.Tail = 5, 6 })
	if events := f.age(); len(events) != 0 || f.tail() != 5 {
		t.Fatalf("events %+v, tail %d; want none and 5", events, f.tail())
	}
	s.Seq = 6
	f.put(5, s)
	f.cpu(0, func(y *limboYoungCpu) { y.Head, y.Tail = 6, 5 })
	if events := f.age(); len(events) != 1 || f.tail() != 6 {
		t.Errorf("events %+v, tail %d; want one and 6", events, f.tail())
	}
}

// Looking twice at a slot, or at two slots of one socket, promotes it once.
func TestSettleTwice(t *testing.T) {
	f := newForge(t).in(t)
	_, s := f.recorded(makeHalfClosed, ipv4, flow.StateFinWait1)
	later := s
	later.State, later.Pid = uint8(flow.StateFinWait2), 0
	f.write(s, s, later)
	events := f.age()
	if stats := f.stats(); stats.Promoted != 1 || stats.Tracked != 1 {
		t.Errorf("counted %d promoted, %d tracked, want 1 and 1", stats.Promoted, stats.Tracked)
	}
	for _, e := range events {
		if e.Key != events[0].Key || e.Task.PID != s.Pid {
			t.Errorf("announced %#x by process %d, want %#x by %d", e.Addr, e.Task.PID, s.Sk, s.Pid)
		}
	}
}

// An entry whose socket ended unseen does not stand in the way of the next socket
// at its address.
func TestStaleEntries(t *testing.T) {
	forge := newForge(t)
	t.Run("met by ageing", func(t *testing.T) {
		f := forge.in(t)
		st, s := f.recorded(makeCloseWait, ipv4, flow.StateCloseWait)
		f.plant(s.Sk, limboPromoted{Cookie: s.Cookie + 1, State: s.State})
		f.write(s)
		checkReplaced(t, f, f.age(), st.cookie)
	})
	t.Run("met by a transition", func(t *testing.T) {
		f := forge.in(t)
		client, server := pair(t, ipv4)
		f.plant(find(t, f.tr, server.cookie).Addr, limboPromoted{
			Cookie: server.cookie + 1, State: uint8(flow.StateCloseWait),
		})
		if err := f.tr.Attach(); err != nil {
			t.Fatal(err)
		}
		client.shutdown()
		server.in(flow.StateCloseWait)
		if err := f.tr.Detach(); err != nil {
			t.Fatal(err)
		}
		checkReplaced(t, f, f.age(), server.cookie)
	})
}

func checkReplaced(t *testing.T, f *forge, events []flow.Event, cookie uint64) {
	t.Helper()
	found := false
	for _, e := range events {
		if e.Kind == flow.EventPromoted && e.Cookie == cookie {
			found = true
			if _, _, ok := f.tr.Recall(e.Key); !ok {
				t.Error("announced, but not in the old generation")
			}
		}
	}
	if !found {
		t.Errorf("socket %#x not announced: %+v", cookie, events)
	}
	if stats := f.stats(); stats.Stale != 1 {
		t.Errorf("%d stale entries counted, want 1", stats.Stale)
	}
}

// A slot that a socket leaves a while later is struck out but not given back: the
// ageing pass may be at it, and would not look at who came to its position next.
func TestOnlyFreshSlotsAreGivenBack(t *testing.T) {
	f := newForge(t).in(t)
	cpu := onOneCPU(t)
	eventually(t, "a slot that nothing else on this CPU wrote over", func() bool { return f.struckOut(cpu) })
}

// struckOut reports whether the slot of a connect that waited some jiffies and was
// then given up still counts as written; false if it is not there to be seen.
func (f *forge) struckOut(cpu uint32) bool {
	f.t.Helper()
	f.clear()
	if err := f.tr.Attach(); err != nil {
		f.t.Fatal(err)
	}
	st := makeSynSent(f.t, ipv4)
	index, position, ok := f.slotOf(cpu, st.cookie)
	begin, err := f.tr.jiffies()
	if err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, "some jiffies later", func() bool {
		now, err := f.tr.jiffies()
		return err == nil && now > begin+2
	})
	st.close()
	if err := f.tr.Detach(); err != nil {
		f.t.Fatal(err)
	}
	if s := f.at(index); !ok || s.Cookie != st.cookie || s.Seq != 0 {
		return false
	}
	if head := f.ring(cpu).Head; head <= position {
		f.t.Fatalf("the slot at %d was given back: head is %d", position, head)
	}
	return true
}

// slotOf finds the slot of a socket in a CPU's ring.
func (f *forge) slotOf(cpu uint32, cookie uint64) (index uint32, position uint64, ok bool) {
	f.t.Helper()
	y := f.ring(cpu)
	for position := range y.Head {
		index := y.Base + uint32(position%uint64(y.Slots))
		if s := f.at(index); s.Cookie == cookie && s.Seq == position+1 {
			return index, position, true
		}
	}
	return 0, 0, false
}

// onOneCPU keeps the test's thread on a CPU that it may use, and returns which.
func onOneCPU(t *testing.T) uint32 {
	t.Helper()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.SchedSetaffinity(0, &allowed) })
	return uint32(cpu)
}
