package tracer

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// listenersEvery is how often listeners are counted: they come and go rarely, and
// their table has up to 65,536 buckets, 2 ms.
const listenersEvery = 30 * time.Second

// censusStates is CENSUS_STATES of bpf/census.h.
const censusStates = 16

// Census returns how many sockets the last Walk, or the WalkSome that is done,
// met in each state, and how many listen.
func (t *Tracer) Census() (flow.Census, error) {
	var counted [censusStates]uint64
	if err := t.objs.Census.Get(&counted); err != nil {
		return flow.Census{}, fmt.Errorf("reading census: %w", err)
	}
	if now := BootTime(); t.listenersAt == 0 || now-t.listenersAt >= listenersEvery {
		if err := t.countListeners(); err != nil {
			return flow.Census{}, err
		}
		t.listenersAt = now
	}
	c := flow.Census(counted[:flow.StateMax])
	c[flow.StateListen] = t.listeners
	// One state in two guises: a connection request, and what it becomes (4.4).
	c[flow.StateSynRecv] += c[flow.StateNewSynRecv]
	c[flow.StateNewSynRecv] = 0
	return c, nil
}

func (t *Tracer) countListeners() error {
	if err := t.objs.Census.Set([censusStates]uint64{}); err != nil {
		return fmt.Errorf("setting census: %w", err)
	}
	for bucket := uint32(0); ; {
		next, err := t.run(t.objs.LimboListeners, uint64(bucket))
		if err != nil {
			return fmt.Errorf("running limbo_listeners: %w", err)
		}
		if next <= bucket {
			break
		}
		bucket = next
	}
	var counted [censusStates]uint64
	if err := t.objs.Census.Get(&counted); err != nil {
		return fmt.Errorf("reading census: %w", err)
	}
	t.listeners = counted[flow.StateListen]
	return nil
}
