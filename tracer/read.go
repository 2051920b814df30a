package tracer

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Events calls fn for each event that waits in the ring buffer and returns
// when there is none. The event is only valid during the call.
func (t *Tracer) Events(fn func(*flow.Event)) error {
	if t.noteRing() == 0 && !t.closed {
		return nil // without asking the reader, which asks the kernel
	}
	// A deadline in the past makes the reader return what is there.
	return t.eventsUntil(time.Unix(1, 0), fn)
}

// Wait is like Events, but first waits until the kernel side says that enough
// is there (only under Trace), Wake is called, or the deadline.
func (t *Tracer) Wait(deadline time.Time, fn func(*flow.Event)) error {
	return t.eventsUntil(deadline, fn)
}

// Wake makes a Wait in another goroutine return.
func (t *Tracer) Wake() error {
	if err := t.reader.Flush(); err != nil {
		return fmt.Errorf("waking the ring buffer's reader: %w", err)
	}
	return nil
}

func (t *Tracer) eventsUntil(deadline time.Time, fn func(*flow.Event)) error {
	t.reader.SetDeadline(deadline)
	for {
		err := t.reader.ReadInto(&t.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
			return nil
		case err != nil:
			return fmt.Errorf("reading ring buffer: %w", err)
		}
		if err := t.decode.event(t.record.RawSample, &t.event); err != nil {
			return err
		}
		fn(&t.event)
	}
}

// Stats returns the counters of the kernel side.
func (t *Tracer) Stats() (flow.Stats, error) {
	var c limboCounters
	if err := t.objs.Counts.Get(&c); err != nil {
		return flow.Stats{}, fmt.Errorf("reading counters: %w", err)
	}
	tracked, err := t.tracked()
	if err != nil {
		return flow.Stats{}, err
	}
	var retransmits [flow.RetransmitKinds]uint64
	if err := t.objs.RetransmitCounts.Get(&retransmits); err != nil {
		return flow.Stats{}, fmt.Errorf("reading retransmit_counts: %w", err)
	}
	s := flow.Stats{
		Promoted:     c.Promoted,
		Stale:        c.PromotedStale,
		YoungOverrun: c.YoungOverrun,
		Nested:       c.Nested,
		Tracked:      tracked,
		StallUnsaid:  c.StallUnsaid,
		Retransmits:  retransmits,
		Hidden:       t.second.hiddenEver,
	}
	s.RingFull, s.PromotedFull, s.WalkCut = c.RingFull, c.PromotedFull, c.ChainCut+c.ChainMoved
	s.SYNDrops = c.SynDropLost
	s.Recursion = t.second.lost
	if t.second.link != nil {
		s.Recursion = t.second.unseen(misses(t.objs.LimboSetState), c.Nested)
	}
	if err := t.countStacks(&s, &c); err != nil {
		return flow.Stats{}, err
	}
	if t.opts.Trace != nil {
		// Retransmissions are hints under run and records under trace.
		s.Recursion += misses(t.objs.LimboRetransmit)
	}
	return s, nil
}
