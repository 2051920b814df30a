package tracer

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// second is the program that is shown what the kernel hides from the first, a
// transition inside a transition (bpf/nested.h). Every transition pays for its
// run, so under watch it is attached only while Follow wants it; always where programs
// are preempted, which hides whatever happens on that CPU meanwhile.
type second struct {
	link link.Link
	// refused is why the program is not there, nil if it is or was not needed yet.
	refused error
	needed  time.Duration // when it was wanted last
	looked  time.Duration // when hidden was read last
	// What the first program had missed and the second had found when it was
	// attached; what the first had missed at the last look without the second.
	hidden0, nested0, hidden uint64
	// hiddenEver is Stats.Hidden.
	hiddenEver uint64
	// See unseen; lost0 is from before it was attached.
	gap, lost, lost0 uint64
}

// secondStays is how long the second program stays attached when nobody wants it.
const secondStays = 10 * time.Second

// hiddenLook is the shortest time between two looks at what was hidden. Nobody follows that
// up sooner than in a second, and on a host where nothing happens it is a tenth of all
// that a tick does.
const hiddenLook = 700 * time.Millisecond

func (t *Tracer) addSecond() error {
	// Before: it takes what is not marked for unseen.
	if err := t.objs.NestedAttached.Set(true); err != nil {
		return fmt.Errorf("setting nested_attached: %w", err)
	}
	l, err := attachTracepoint("inet_sock_set_state", t.objs.LimboSetStateNested)
	if err != nil {
		return err
	}
	t.second.link = l
	// In this order: what comes in between must not look like a loss.
	nested, err := t.nested()
	t.second.attached(misses(t.objs.LimboSetState), nested)
	return err
}

func (s *second) attached(hidden, nested uint64) {
	s.gap, s.lost0 = 0, s.lost
	s.hidden0, s.nested0 = hidden, nested
}

// Follow says whether every transition of the sockets that are tracked matters.
// If not, or without the second program, one in a thousand may stay unseen under full
// load; Stats.Hidden counts them. It is called at every tick.
func (t *Tracer) Follow(every bool) error {
	if t.opts.Trace != nil || t.opts.ReadOnly {
		return nil
	}
	t.takeLate()
	t.attachLate()
	now := BootTime()
	every = every || t.preemptible
	if every {
		t.second.needed = now
		t.need(&t.objs.LimboSetStateNested, 0)
	}
	switch {
	case t.second.link != nil && now > t.second.needed+secondStays:
		return t.dropSecond()
	case t.second.link != nil:
		return nil
	case every && t.objs.LimboSetStateNested != nil:
		if err := t.addSecond(); err != nil {
			return err
		}
	}
	if now < t.second.looked+hiddenLook {
		return nil
	}
	t.second.looked = now
	hidden := misses(t.objs.LimboSetState)
	t.second.hiddenEver += hidden - t.second.hidden
	t.second.hidden = hidden
	return nil
}

// SeesNested returns nil if transitions inside transitions can be seen here, and else
// why not; then a walk finds what they led to.
func (t *Tracer) SeesNested() error {
	t.need(&t.objs.LimboSetStateNested, lateWait)
	return t.second.refused
}

func (t *Tracer) dropSecond() error {
	t.second.hidden = misses(t.objs.LimboSetState)
	if err := t.second.close(); err != nil {
		return fmt.Errorf("detaching the second program: %w", err)
	}
	if err := t.objs.NestedAttached.Set(false); err != nil {
		return fmt.Errorf("setting nested_attached: %w", err)
	}
	return nil
}

func (s *second) close() error {
	if s.link == nil {
		return nil
	}
	err := s.link.Close()
	s.link = nil
	return err
}

func (t *Tracer) tracked() (uint64, error) {
	var n uint64
	if err := t.objs.PromotedCount.Get(&n); err != nil {
		return 0, fmt.Errorf("reading promoted_count: %w", err)
	}
	return n, nil
}

func (t *Tracer) nested() (uint64, error) {
	var c limboCounters
	if err := t.objs.Counts.Get(&c); err != nil {
		return 0, fmt.Errorf("reading counters: %w", err)
	}
	return c.Nested, nil
}

// unseen returns how many transitions neither program saw while both were
// attached: what the first one missed less what the second one took over. The two
// numbers are not read at the same moment, so a difference counts only if it was
// there the last time too. Softirqs do not nest three deep; a task that is preempted in
// each of the two programs would do it.
func (s *second) unseen(hidden, nested uint64) uint64 {
	hidden, nested = hidden-s.hidden0, nested-s.nested0
	gap := hidden - min(hidden, nested)
	s.lost = max(s.lost, s.lost0+min(gap, s.gap))
	s.gap = gap
	return s.lost
}

// misses returns how often the kernel did not run a program because it was
// running on that CPU already. Kernels before 5.12 do not count, because they do
// not miss any.
func misses(prog *ebpf.Program) uint64 {
	if prog == nil {
		return 0
	}
	n, err := recursionMisses(prog.FD())
	if err != nil {
		return 0
	}
	return n
}
