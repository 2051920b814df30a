package detect

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// A socket whose data moves is not read whole again, and what stops is in time.
func TestGlance(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	for range 10 {
		l.now += stallAfter
		l.change(0x100, func(s *flow.Sock) { s.RcvNxt += 10; s.CopiedSeq += 10 })
		l.at(l.now)
	}
	if l.reads != 10 || l.glances != 10 {
		t.Errorf("%d readings, %d of them glances; want 10 of 10", l.reads, l.glances)
	}
	if v := l.at(l.now+stallAfter, "open not_reading")[0]; v.Since != l.now-stallAfter {
		t.Errorf("since %v before the verdict", l.now-v.Since)
	}
	if l.glances != 10 {
		t.Error("a glance opened a finding")
	}
	l.change(0x100, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
	l.at(l.now+second, "resolved recovered")
	l.watched(0, 0)
}

// What moved just after the last reading and never since: the kernel's stamps prove
// more than the glance that tells of the move, and the finding is not put off.
func TestGlanceAtWhatStopped(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(silent(0x100, 0))
	l.stalls(0x100)
	l.change(0x100, func(s *flow.Sock) {
		s.SndUna++
		s.LastAck, s.Busy = stallAfter-time.Millisecond, stallAfter
	})
	l.at(born + stallAfter)
	if next, _ := l.d.Next(); next != l.now+time.Millisecond+tick {
		t.Errorf("due after %v more, want 1ms and a tick", next-l.now)
	}
	l.change(0x100, func(s *flow.Sock) { s.SndUna++; s.LastAck, s.Busy = stallAfter, stallAfter })
	if v := l.at(l.now+time.Millisecond, "open peer_silent")[0]; v.Since != l.now-stallAfter {
		t.Errorf("since %v before the verdict", l.now-v.Since)
	}
	if l.reads != 3 || l.glances != 2 {
		t.Errorf("%d readings, %d of them glances; want 3, 2", l.reads, l.glances)
	}
}

// Lost events are none of a socket of which none are sent: it is read when it is due.
func TestSuspectLeavesCandidates(t *testing.T) {
	l := newLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.d.Suspect(l.now)
	l.at(l.now + second)
	if l.reads != 0 {
		t.Errorf("%d readings", l.reads)
	}
	l.at(born+stallAfter, "open not_reading")
	reads := l.reads
	l.d.Suspect(l.now)
	if l.at(l.now); l.reads != reads+1 {
		t.Error("what is flagged is not looked at")
	}
}

// Nobody can tell a glance from a whole reading by what is said and when.
func TestGlanceSaysWhatAReadingSays(t *testing.T) {
	const addr, steps = 0x100, 4000
	kinds := []func(uint64) flow.Sock{
		func(a uint64) flow.Sock { return silent(a, 0) }, closedWindow, unread, established,
	}
	glances, verdicts := 0, 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		short, whole := newLab(t, testThreshold), newLab(t, testThreshold)
		whole.whole = true
		w := stallWorld{s: kinds[seed%4](addr), r: r}
		for range steps {
			w.step()
			var said [2][]string
			for i, l := range []*lab{short, whole} {
				l.now += second / 2
				l.put(w.read())
				if w.patrol() {
					l.stalls(addr)
				}
				l.look()
				for _, v := range l.verdicts() {
					verdicts++
					said[i] = append(said[i], words(&v), v.Since.String())
				}
			}
			if !slices.Equal(said[0], said[1]) {
				t.Fatalf("seed %d: said %q, and with whole readings %q", seed, said[0], said[1])
			}
		}
		checkDetector(t, short.d)
		glances += short.glances
	}
	if glances < 1000 || verdicts < 1000 {
		t.Errorf("%d glances and %d verdicts: nothing was compared", glances, verdicts)
	}
}

// stallWorld moves the data of one socket at random, half a second a step.
type stallWorld struct {
	s               flow.Sock
	r               *rand.Rand
	steps           int
	ack, recv, busy int // steps since
	stuck           int // steps to go without a move
}

func (w *stallWorld) step() {
	w.ack, w.recv, w.busy = w.ack+1, w.recv+1, w.busy+1
	w.steps++
	if w.stuck--; w.stuck > 0 {
		return
	}
	switch w.r.IntN(12) {
	case 0:
		w.stuck = w.r.IntN(80)
	case 1, 2:
		if w.s.SndUna != w.s.WriteSeq {
			w.s.SndUna++
		}
		w.s.SndNxt, w.ack, w.s.Retransmits = max(w.s.SndNxt, w.s.SndUna), 0, 0
	case 3:
		w.s.WriteSeq += 100
		w.s.SndNxt = w.s.WriteSeq
		if w.s.WriteSeq-w.s.SndUna == 100 {
			w.busy = 0
		}
	case 4:
		w.s.RcvNxt += 100
		w.recv = 0
	case 5:
		w.s.CopiedSeq = w.s.RcvNxt
	case 6:
		w.s.SndUna, w.s.SndNxt, w.ack, w.s.Retransmits = w.s.WriteSeq, w.s.WriteSeq, 0, 0
	case 7:
		w.s.Retransmits = 4
	case 8:
		w.s.ReceiveBuffer, w.s.ReceiveMemory = 1000, uint32(w.r.IntN(1000))
	}
}

func (w *stallWorld) patrol() bool { return w.steps%20 == 1 && Waits(&w.s) }

// read is the socket with its stamps.
func (w *stallWorld) read() flow.Sock {
	s := w.s
	s.LastAck, s.LastReceive, s.Busy = time.Duration(w.ack)*second/2, time.Duration(w.recv)*second/2, -1
	if s.SndUna != s.WriteSeq {
		s.Busy = time.Duration(w.busy) * second / 2
	}
	return s
}
