package detect

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// A socket whose data moves is not read again, and what stops is in time.
func TestGlance(t *testing.T) {
	l := newMoverLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.watched(0, 0)
	for range 10 {
		l.now += stallAfter
		l.change(0x100, func(s *flow.Sock) { s.RcvNxt += 10; s.CopiedSeq += 10 })
		l.at(l.now)
	}
	if l.reads != 0 || l.glances != 10 {
		t.Errorf("%d readings, %d glances; want 0, 10", l.reads, l.glances)
	}
	if v := l.at(l.now+stallAfter, "open not_reading")[0]; v.Since != l.now-stallAfter {
		t.Errorf("since %v before the verdict", l.now-v.Since)
	}
	if l.reads != 1 || l.glances != 11 {
		t.Errorf("%d readings, %d glances; want 1, 11", l.reads, l.glances)
	}
	l.change(0x100, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
	l.at(l.now+second, "resolved recovered")
	l.watched(0, 0)
}

// What moved just after the last reading and never since: the kernel's stamps prove
// more than the glance that tells of the move, and the finding is not put off.
func TestGlanceAtWhatStopped(t *testing.T) {
	l := newMoverLab(t, testThreshold)
	l.put(silent(0x100, 0))
	l.stalls(0x100)
	l.change(0x100, func(s *flow.Sock) {
		s.SndUna++
		s.LastAck, s.Busy = stallAfter-2*tick, stallAfter
	})
	l.at(born + stallAfter)
	l.watched(0, 0)
	l.change(0x100, func(s *flow.Sock) { s.SndUna++; s.LastAck, s.Busy = stallAfter, stallAfter })
	if v := l.at(l.now+2*tick, "open peer_silent")[0]; v.Since != l.now-stallAfter {
		t.Errorf("since %v before the verdict", l.now-v.Since)
	}
	if l.reads != 1 || l.glances != 2 {
		t.Errorf("%d readings, %d glances; want 1, 2", l.reads, l.glances)
	}
}

// What leaves no stamp of its end is told late by no more than an eighth of the threshold
// where few are set aside, and wherever it stops between two glances.
func TestStopsBetweenGlances(t *testing.T) {
	const late = stallAfter/lookParts + 2*tick
	for stop := second; stop < stallAfter; stop += second {
		l := newMoverLab(t, testThreshold)
		l.put(unread(0x100))
		l.stalls(0x100)
		told := time.Duration(0)
		for told == 0 && l.now < born+3*stallAfter {
			l.now += tick
			if l.now <= born+stop {
				l.change(0x100, func(s *flow.Sock) { s.RcvNxt += 10; s.CopiedSeq += 10 })
			}
			l.look()
			if len(l.verdicts()) > 0 {
				told = l.now
			}
		}
		if wait := told - born - stop; wait < stallAfter || wait > stallAfter+late {
			t.Errorf("stopped after %v: told %v later", stop, wait)
		}
		if l.reads > 2 {
			t.Errorf("stopped after %v: read %d times", stop, l.reads)
		}
	}
}

// What is soon due waits for its moment as an entry: glances have the pace of ticks.
func TestSoonDueIsNotSetAside(t *testing.T) {
	l := newMoverLab(t, testThreshold)
	l.put(silent(0x100, stallAfter-2*tick+time.Millisecond))
	l.stalls(0x100)
	l.watched(1, 0)
	if next, _ := l.d.Next(); next != born+2*tick-time.Millisecond+tick {
		t.Errorf("due after %v", next-born)
	}
}

// Where nothing waits any more the place is given up; so is that of a socket that has
// left ESTABLISHED, or whose address serves another one.
func TestPlacesAreGivenUp(t *testing.T) {
	ends := map[string]func(*flow.Sock){
		"all was read": func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt },
		"half closed":  func(s *flow.Sock) { s.State = flow.StateCloseWait },
		"another one":  func(s *flow.Sock) { s.Hash++ },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			l := newMoverLab(t, testThreshold)
			l.put(unread(0x100))
			l.stalls(0x100)
			l.change(0x100, end)
			l.at(born + stallAfter)
			l.watched(0, 0)
			if len(l.aside) != 0 || l.d.asides.count != 0 || l.reads != 0 {
				t.Errorf("%d set aside, %d counted, %d readings", len(l.aside), l.d.asides.count, l.reads)
			}
		})
	}
}

// The address of a socket that is set aside may serve another one, which stalls as well
// or is a finding of another kind; neither is taken for the first.
func TestPlaceOfAnother(t *testing.T) {
	l := newMoverLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.now += 5 * second
	other := unread(0x100)
	other.ID, other.Hash = identity(0x100, 77), 78
	l.put(other)
	l.stalls(0x100)
	l.at(born + stallAfter)
	if v := l.at(born+5*second+stallAfter, "open not_reading")[0]; v.Sock.Cookie != 77 || v.Since != born+5*second {
		t.Errorf("cookie %d, since %v", v.Sock.Cookie, v.Since-born)
	}

	l = newMoverLab(t, testThreshold)
	l.put(unread(0x100))
	l.stalls(0x100)
	closing := socket(0x100, 77, flow.StateCloseWait)
	l.put(closing)
	l.promoted(closing, born)
	l.at(born + stallAfter)
	l.watched(1, 0)
	if v := l.at(born+30*second, "open eof_ignored")[0]; v.Sock.Cookie != 77 {
		t.Errorf("cookie %d", v.Sock.Cookie)
	}
}

// Whoever is set aside is known already: no retransmission makes it an entry, and the
// stall is told at its time.
func TestRetransmissionsOfMovers(t *testing.T) {
	l := newMoverLab(t, testThreshold)
	l.put(silent(0x100, 0))
	l.stalls(0x100)
	s := l.live[0x100]
	l.d.Event(&flow.Event{Kind: flow.EventRetransmit, Time: born + second, ID: s.ID, Old: s.State, New: s.State, Retransmits: 3})
	l.watched(0, 0)
	l.change(0x100, func(s *flow.Sock) { s.LastAck, s.Busy = stallAfter, stallAfter })
	l.at(born+stallAfter, "open peer_silent")
}

// A threshold that is set anew holds from then on, and so does a tick.
func TestConfigureMovers(t *testing.T) {
	for _, pace := range []time.Duration{tick, 10 * time.Millisecond, 4 * tick} {
		l := newMoverLab(t, testThreshold)
		for addr := uint64(0x100); addr < 0x200; addr += 0x10 {
			l.put(unread(addr))
			l.stalls(addr)
		}
		short := testThreshold
		short[finding.EstablishedStalled] = 5 * second
		l.now += 2 * second
		l.d.Configure(short, pace, l.now)
		l.at(l.now)
		l.at(l.now + pace)
		l.now = born + 5*second
		l.look()
		if v := l.verdicts(); len(v) != 16 {
			t.Errorf("tick %v: %d verdicts, want 16", pace, len(v))
		}
		checkDetector(t, l.d)
	}
}

// After a pause of any length everybody is looked at, once.
func TestGlancesAfterAPause(t *testing.T) {
	for _, pause := range []time.Duration{stallAfter, 17 * second, time.Hour, 400 * 24 * time.Hour} {
		l := newMoverLab(t, testThreshold)
		for addr := uint64(1); addr <= 100; addr++ {
			l.put(unread(addr))
			l.now = born + time.Duration(addr)*second/50
			l.stalls(addr)
		}
		for addr := uint64(1); addr <= 100; addr++ {
			l.change(addr, func(s *flow.Sock) { s.CopiedSeq++ })
		}
		l.at(l.now + pause)
		if l.glances != 100 || l.d.asides.count != 100 {
			t.Errorf("after %v: %d glances, %d set aside; want 100, 100", pause, l.glances, l.d.asides.count)
		}
	}
}

// A threshold that is longer than the wheel is kept to.
func TestLongThresholdOfMovers(t *testing.T) {
	long := testThreshold
	long[finding.EstablishedStalled] = 10 * time.Minute
	l := newMoverLab(t, long)
	l.put(unread(0x100))
	l.stalls(0x100)
	for l.now < born+10*time.Minute-tick {
		l.at(l.now + tick)
	}
	if l.glances >= lookParts {
		t.Errorf("%d glances before the threshold", l.glances)
	}
	l.at(born+10*time.Minute, "open not_reading")
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
		short, whole := newMoverLab(t, testThreshold), newLab(t, testThreshold)
		// As among so many that a glance comes once in a threshold, as a reading does.
		const crowd = 1 << 20
		short.d.asides.count += crowd
		w := stallWorld{s: kinds[seed%4](addr), r: r}
		for range steps {
			w.step()
			// No walk hands out what is set aside.
			patrol := w.patrol() && short.aside[placeOf(addr)].Addr == 0
			var said [2][]string
			for i, l := range []*lab{short, whole} {
				l.now += second / 2
				l.put(w.read())
				if patrol {
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
		short.d.asides.count -= crowd
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
