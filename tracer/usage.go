package tracer

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// noteRing returns how many bytes wait in the ring buffer, and keeps the most that did.
func (t *Tracer) noteRing() (waiting int) {
	if t.closed { // its memory is not mapped then
		return 0
	}
	waiting = t.reader.AvailableBytes()
	t.ringFill = max(t.ringFill, uint64(waiting))
	return waiting
}

// Usage returns how full the maps are and what the programs cost. It makes some
// dozen system calls.
func (t *Tracer) Usage() (flow.Usage, error) {
	u := flow.Usage{RingFill: t.ringFill, RingSize: uint64(t.reader.BufferSize())}
	t.ringFill = 0
	tracked, err := t.tracked()
	if err != nil {
		return u, err
	}
	young, slots := t.youngUse()
	u.Maps = []flow.MapUse{
		{Name: "old_generation", Used: tracked, Capacity: uint64(t.opts.MaxPromoted)},
		{Name: "young_rings", Used: young, Capacity: slots},
	}
	for _, p := range t.programs() {
		if p.prog == nil {
			continue
		}
		stats, err := p.prog.Stats()
		if err != nil {
			return u, fmt.Errorf("reading statistics of %s: %w", p.name, err)
		}
		u.Programs = append(u.Programs, flow.ProgramUse{
			Name: p.name, Runs: stats.RunCount, Time: stats.Runtime, Missed: stats.RecursionMisses,
		})
	}
	return u, nil
}

type namedProgram struct {
	name string
	prog *ebpf.Program
}

// programs are those that run under run; nil where a kernel has one not.
func (t *Tracer) programs() []namedProgram {
	return []namedProgram{
		{"limbo_age", t.objs.LimboAge},
		{"limbo_glance", t.objs.LimboGlance},
		{"limbo_holders", t.objs.LimboHolders},
		{"limbo_listeners", t.objs.LimboListeners},
		{"limbo_local", t.objs.LimboLocal},
		{"limbo_read", t.objs.LimboRead},
		{"limbo_retransmit", t.objs.LimboRetransmit},
		{"limbo_set_state", t.objs.LimboSetState},
		{"limbo_set_state_nested", t.objs.LimboSetStateNested},
		{"limbo_syn", t.objs.LimboSyn},
		{"limbo_syn_dropped", t.objs.LimboSynDropped},
		{"limbo_walk", t.objs.LimboWalk},
	}
}

// youngUse returns how many slots waited when the rings were aged last, and how
// many there are.
func (t *Tracer) youngUse() (used, slots uint64) {
	for ring := range 2 * t.cpus {
		head, tail := t.ringAt(ring)
		// Slots that were given back may leave head behind.
		used += uint64(max(int64(head-tail), 0))
	}
	slots = uint64(t.opts.YoungSlots+nestedSlots) * uint64(t.cpus)
	return min(used, slots), slots
}
