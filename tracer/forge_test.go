package tracer

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// What becomes of a slot of the young generation is tested by forging slots: a
// real one is taken out of the ring, changed, and put back.

// slot is a slot with the part that only some have.
type slot struct {
	limboYoungSlot
	tuple limboYoungTuple
	// minisocket is where the socket's is, if it has one.
	minisocket uint64
}

// forge is a Tracer that is not attached while its rings are written.
type forge struct {
	t  *testing.T
	tr *Tracer
	ns *namespace
}

// forgeSlots are enough for whatever else the host does while a test makes a
// socket.
const forgeSlots = 8192

func newForge(t *testing.T) *forge {
	t.Helper()
	return &forge{t: t, tr: load(t, Options{Watch: stuckStates, YoungSlots: forgeSlots})}
}

// in continues in a subtest, with nothing in the kernel and a network namespace of
// its own.
func (f *forge) in(t *testing.T) *forge {
	t.Helper()
	sub := &forge{t: t, tr: f.tr, ns: newNamespace(t)}
	sub.clear()
	return sub
}

// clear empties rings, old generation, counters and ring buffer.
func (f *forge) clear() {
	f.t.Helper()
	f.write()
	for _, addr := range f.promoted() {
		if err := f.tr.objs.OldGeneration.Delete(addr); err != nil {
			f.t.Fatal(err)
		}
	}
	f.set(f.tr.objs.PromotedCount, uint64(0))
	f.set(f.tr.objs.PromotedFilter, limboFilter{})
	f.set(f.tr.objs.Counts, limboCounters{})
	f.events()
}

func (f *forge) set(v *ebpf.Variable, value any) {
	f.t.Helper()
	if err := v.Set(value); err != nil {
		f.t.Fatal(err)
	}
}

// promoted lists the addresses in the old generation.
func (f *forge) promoted() []uint64 {
	f.t.Helper()
	var addrs []uint64
	var addr uint64
	var p limboPromoted
	all := f.tr.objs.OldGeneration.Iterate()
	for all.Next(&addr, &p) {
		addrs = append(addrs, addr)
	}
	if err := all.Err(); err != nil {
		f.t.Fatal(err)
	}
	return addrs
}

// recorded makes a stuck socket while the programs are attached, and returns the
// slot that a state of it left behind.
func (f *forge) recorded(make func(testing.TB, family) stuck, fam family, state flow.State) (stuck, slot) {
	f.t.Helper()
	if err := f.tr.Attach(); err != nil {
		f.t.Fatal(err)
	}
	st := make(f.t, fam)
	if err := f.tr.Detach(); err != nil {
		f.t.Fatal(err)
	}
	defer f.clear()
	for ring := range uint32(2 * f.tr.cpus) {
		y := f.ring(ring)
		for i := range min(uint32(y.Head), y.Slots) {
			s := f.at(y.Base + i)
			if s.Cookie != st.cookie {
				continue
			}
			if flow.State(s.State) == state {
				return st, s
			}
			if flow.State(s.State) == flow.StateTimeWait && state == flow.StateFinWait1 {
				// Handed over: as it is where that was not possible.
				s.State = uint8(state)
				return st, s
			}
		}
	}
	f.t.Fatalf("socket %#x left no slot in %v", st.cookie, state)
	return stuck{}, slot{}
}

func (f *forge) at(index uint32) (s slot) {
	f.t.Helper()
	if err := f.tr.objs.YoungRing.Lookup(index, &s.limboYoungSlot); err != nil {
		f.t.Fatal(err)
	}
	if err := f.tr.objs.YoungTuples.Lookup(index, &s.tuple); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// write makes these slots all that the young generation holds: those of CPU 0.
func (f *forge) write(slots ...slot) {
	f.t.Helper()
	for ring := range uint32(2 * f.tr.cpus) {
		f.cpu(ring, func(y *limboYoungCpu) { y.Head, y.Tail, y.Busy = 0, 0, 0 })
	}
	for i, s := range slots {
		s.Seq = uint64(i) + 1
		f.put(uint32(i), s)
	}
	f.cpu(0, func(y *limboYoungCpu) { y.Head = uint64(len(slots)) })
}

func (f *forge) put(index uint32, s slot) {
	f.t.Helper()
	if err := f.tr.objs.YoungRing.Put(index, s.limboYoungSlot); err != nil {
		f.t.Fatal(err)
	}
	if err := f.tr.objs.YoungTuples.Put(index, s.tuple); err != nil {
		f.t.Fatal(err)
	}
}

// ring returns where a ring stands.
func (f *forge) ring(ring uint32) (y limboYoungCpu) {
	f.t.Helper()
	if err := f.tr.objs.YoungCpus.Lookup(ring, &y); err != nil {
		f.t.Fatal(err)
	}
	return y
}

// cpu changes where a ring stands; not while the programs are attached.
func (f *forge) cpu(ring uint32, change func(*limboYoungCpu)) limboYoungCpu {
	f.t.Helper()
	y := f.ring(ring)
	change(&y)
	if err := f.tr.objs.YoungCpus.Put(ring, y); err != nil {
		f.t.Fatal(err)
	}
	return y
}

func (f *forge) tail() uint64 {
	f.t.Helper()
	return f.ring(0).Tail
}

func (f *forge) events() []flow.Event {
	f.t.Helper()
	var all []flow.Event
	if err := f.tr.Events(func(e *flow.Event) { all = append(all, *e) }); err != nil {
		f.t.Fatal(err)
	}
	return all
}

// age looks at the slots and returns what was announced.
func (f *forge) age() []flow.Event {
	f.t.Helper()
	var all []flow.Event
	err := f.tr.Age(0, func() error {
		all = append(all, f.events()...)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

func (f *forge) stats() flow.Stats {
	f.t.Helper()
	stats, err := f.tr.Stats()
	if err != nil {
		f.t.Fatal(err)
	}
	return stats
}

// plant puts an entry into the old generation, where every transition looks for it.
func (f *forge) plant(addr uint64, p limboPromoted) {
	f.t.Helper()
	if err := f.tr.objs.OldGeneration.Put(addr, p); err != nil {
		f.t.Fatal(err)
	}
	var all limboFilter
	for i := range all.Near {
		all.Near[i] = 1
	}
	for i := range all.Far {
		all.Far[i] = 1
	}
	f.set(f.tr.objs.PromotedFilter, all)
	f.set(f.tr.objs.PromotedCount, uint64(1))
}
