package detect

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// check holds a verdict against the truth and against what was said before.
func (w *world) check(v *Verdict, withdrawn bool) {
	w.t.Helper()
	known := w.open[v.ID]
	switch v.Status {
	case finding.Open:
		if known != nil || (w.ended[v.ID] && !w.hostile) {
			w.t.Fatalf("%q is opened a second time", v.ID)
		}
		w.checkOpen(v)
		if !withdrawn {
			w.opens++
			w.open[v.ID] = &said{Verdict: *v, reason: v.Reason, last: v.At, gap: v.Threshold / 2}
		}
		return
	case finding.Update:
		if known == nil {
			w.t.Fatalf("%q is updated and not open", v.ID)
		}
		w.checkUpdate(known, v, withdrawn)
	case finding.Resolved:
		if known == nil {
			w.t.Fatalf("%q is resolved and not open", v.ID)
		}
		if v.Reason != known.reason || v.Outcome == finding.OutcomeNone {
			w.t.Fatalf("%q is resolved as %v (%v), it was said to be %v", v.ID, v.Reason, v.Outcome, known.reason)
		}
		delete(w.open, v.ID)
		w.ended[v.ID] = true
	case finding.StatusCount:
		w.t.Fatal("a verdict without a status")
	}
	if v.Kind != known.Kind || v.Since != known.Since || (v.Sock.Cookie != known.Sock.Cookie && !w.hostile) {
		w.t.Fatalf("%q was %v since %v and is %v since %v", v.ID, known.Kind, known.Since, v.Kind, v.Since)
	}
}

func (w *world) checkOpen(v *Verdict) {
	w.t.Helper()
	if v.Threshold == 0 || v.At != w.now || v.At-v.Since < v.Threshold {
		w.t.Fatalf("opened %v after %v, the threshold is %v", v.Kind, v.At-v.Since, v.Threshold)
	}
	if v.Reason == finding.ReasonNone {
		w.t.Fatalf("opened %v without a reason", v.Kind)
	}
	if w.hostile {
		return
	}
	m := w.at(v.Sock.Key)
	if m == nil || finding.KindOf(m.sock.State) != v.Kind {
		w.t.Fatalf("opened %v of a socket that is elsewhere", v.Kind)
	}
	if v.Since < m.limbo {
		w.t.Fatalf("%v since %v, but it came there at %v", v.Kind, v.Since, m.limbo)
	}
	if v.Exact && v.Since != m.limbo && v.Since != m.entered {
		w.t.Fatalf("%v exactly since %v; it was %v or %v", v.Kind, v.Since, m.limbo, m.entered)
	}
	if s := w.reading(m); w.draining(m) {
		w.t.Fatalf("opened %v, but an ACK came %v ago", v.Kind, s.LastAck)
	}
	for id, other := range w.open {
		if other.Sock.Cookie == v.Sock.Cookie && other.Kind == v.Kind {
			w.t.Fatalf("%q is open beside %q: they are one connection", v.ID, id)
		}
	}
}

func (w *world) checkUpdate(known *said, v *Verdict, withdrawn bool) {
	w.t.Helper()
	gap := v.At - known.last
	if gap >= 2*known.gap {
		known.last, known.gap = v.At, gap
	} else if v.Reason == known.reason {
		w.t.Fatalf("%q says the same %v after the last time, which took %v", v.ID, gap, known.gap)
	}
	if !withdrawn {
		known.reason = v.Reason
	}
}

// draining: closed, but the peer takes what is left.
func (w *world) draining(m *simulated) bool {
	s := w.reading(m)
	return finding.KindOf(s.State) == finding.ClosingStalled && s.SendWindow > 0 && s.Unsent()+s.Unacked() > 0 &&
		s.LastAck+ackMargin < w.threshold[finding.ClosingStalled]
}

// at returns the live socket with this key.
func (w *world) at(key flow.Key) *simulated {
	for i := range w.slots {
		if m := &w.slots[i]; m.alive && w.addr(i) == key.Addr && m.sock.Cookie == key.Cookie {
			return m
		}
	}
	return nil
}

// rest stops all change, as after a loss: the kernel is read again. Then every
// socket that is stuck is flagged, and nothing else.
func (w *world) rest() {
	w.deliver()
	w.walk(true)
	w.d.Suspect(w.now)
	for range 400 {
		w.now += second
		w.look(0)
	}
	checkDetector(w.t, w.d)
	if w.hostile {
		return
	}
	stuck := 0
	for i := range w.slots {
		m := &w.slots[i]
		kind := finding.KindOf(m.sock.State)
		if !m.alive || w.threshold[kind] == 0 || kind == finding.EstablishedStalled {
			continue
		}
		open := w.isOpen(m, kind)
		if w.draining(m) && !open {
			continue
		}
		stuck++
		if !open {
			w.t.Fatalf("nothing is said of a socket in %v since %v", m.sock.State, w.now-m.limbo)
		}
	}
	if len(w.open) != stuck {
		w.t.Fatalf("%d findings are open, %d sockets are stuck", len(w.open), stuck)
	}
}

func (w *world) isOpen(m *simulated, kind finding.Kind) bool {
	for _, f := range w.open {
		if f.Sock.Cookie == m.sock.Cookie && f.Kind == kind {
			return true
		}
	}
	return false
}

// end takes every socket away, unseen.
func (w *world) end() {
	for i := range w.slots {
		w.slots[i].alive = false
	}
	for range 300 {
		w.now += second
		w.look(0)
	}
	if watched, flagged := w.d.size(); watched != 0 || flagged != 0 || len(w.open) != 0 {
		w.t.Fatalf("%d sockets are watched and %d flagged, %d findings are open; nothing is there",
			watched, flagged, len(w.open))
	}
	if len(w.d.halfClosed) != 0 {
		w.t.Fatalf("%d sockets that are gone are kept", len(w.d.halfClosed))
	}
	checkDetector(w.t, w.d)
}

// randomOps are operations of a world, the same for the same seed.
func randomOps(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 8000))
	ops := make([]byte, 100+r.IntN(1500))
	for i := range ops {
		ops[i] = byte(r.Uint32())
	}
	return ops
}

func TestRandomWorlds(t *testing.T) {
	opens := 0
	for seed := range uint64(250) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := newWorld(t, randomOps(seed))
			w.run()
			opens += w.opens
		})
	}
	if opens < 600 {
		t.Errorf("%d findings in all: these worlds test little", opens)
	}
}

func FuzzDetector(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomOps(seed))
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		newWorld(t, ops[:min(len(ops), 4000)]).run()
	})
}
