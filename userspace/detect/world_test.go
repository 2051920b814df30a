package detect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// world is a small kernel with a Detector beside it, driven by bytes. It knows
// the truth, and holds everything the Detector says against it.
type world struct {
	t         testing.TB
	d         *Detector
	threshold [finding.KindCount]time.Duration
	// hostile worlds send events that no kernel sends; then only the order of
	// what is said is checked, not its truth.
	hostile bool

	ops    []byte
	now    time.Duration
	slots  [6]simulated
	cookie uint64
	flight []flow.Event // sent and not delivered
	open   map[string]*said
	ended  map[string]bool
	opens  int
}

// simulated is the memory of a socket: an address that serves one after the other.
type simulated struct {
	alive bool
	sock  flow.Sock
	// entered is when it entered its state, limbo when its kind of state.
	entered, limbo time.Duration
	// slot: the young generation has it; tracked: the old one has.
	slot, tracked bool
	// bound is how much of its age its stamps prove, in quarters.
	bound time.Duration
}

// said is what the reader of the records knows of an open finding.
type said struct {
	Verdict
	reason finding.Reason
	// last is the opening or the last update that was due, gap the time before.
	last, gap time.Duration
}

func newWorld(t testing.TB, ops []byte) *world {
	w := &world{
		t: t, ops: ops, now: born, open: map[string]*said{}, ended: map[string]bool{},
		threshold: testThreshold,
	}
	mode := w.byte()
	w.hostile = mode&1 != 0
	if mode&2 != 0 {
		w.threshold[finding.SynSentStalled+finding.Kind(mode>>2)%finding.ClosingStalled] = 0
	}
	w.d = New(Config{Threshold: w.threshold, Tick: tick, NewID: func(id flow.ID, k finding.Kind, since time.Duration) string {
		return fmt.Sprintf("%#x %s", id.Addr, testID(id, k, since))
	}})
	return w
}

func (w *world) byte() byte {
	if len(w.ops) == 0 {
		return 0
	}
	b := w.ops[0]
	w.ops = w.ops[1:]
	return b
}

func (w *world) addr(slot int) uint64 { return 0x1000 + uint64(slot) }

// run performs all operations, then lets the world come to rest and to its end.
func (w *world) run() {
	for len(w.ops) > 0 {
		w.step(w.byte(), w.byte())
		checkDetector(w.t, w.d)
	}
	w.rest()
	w.end()
}

func (w *world) step(op, arg byte) {
	w.now += time.Microsecond
	slot := int(arg) % len(w.slots)
	switch op % 12 {
	case 0, 1:
		w.move(slot, w.byte())
	case 2:
		w.now += time.Duration(arg) * 10 * time.Millisecond
	case 3:
		w.now += time.Duration(arg) * second / 2
	case 4, 5:
		w.promote(arg)
	case 6:
		w.deliver()
	case 7, 8:
		w.deliverOld()
		w.look(arg)
	case 9:
		w.deliverOld()
		w.walk(arg&1 != 0)
	case 10:
		w.d.Suspect(w.now)
	case 11:
		if w.hostile {
			w.anyEvent(slot)
		} else {
			w.values(slot, arg)
		}
	}
}

func (w *world) deliver() {
	for i := range w.flight {
		w.d.Event(&w.flight[i])
	}
	w.flight = w.flight[:0]
}

// deliverOld delivers as the agent does before it reads: only what was sent in
// the last moments may still be on its way.
func (w *world) deliverOld() {
	if len(w.flight) > 0 && w.now-w.flight[0].Time > 10*time.Microsecond {
		w.deliver()
	}
}

// look judges what is due and takes what is said; arg picks what is withdrawn.
func (w *world) look(arg byte) {
	for range 100 {
		due := w.d.Due(w.now)
		if len(due) == 0 {
			w.listen(arg)
			return
		}
		w.read(due)
		w.d.Judge(w.now)
	}
	w.t.Fatal("sockets stay due however often they are judged")
}

func (w *world) listen(arg byte) {
	for i, v := range slices.Clone(w.d.Verdicts()) {
		withdrawn := arg&1 != 0 && arg>>(1+i%7)&1 != 0 && v.Status != finding.Resolved
		w.check(&v, withdrawn)
		if withdrawn {
			w.d.Withdraw(&v, w.now)
		}
	}
}
