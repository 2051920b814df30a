package detect

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// undecided is an open that waits for a decision: a socket in CLOSE_WAIT, 30 s old.
func undecided(t *testing.T) (*lab, *Verdict) {
	t.Helper()
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	return l, &l.at(born+30*second, "open eof_ignored")[0]
}

func TestDecideLonger(t *testing.T) {
	l, v := undecided(t)
	if l.d.Decide(v, 50*second, l.now) {
		t.Fatal("stands, 20s too early")
	}
	l.watched(1, 0)
	l.at(born + 50*second - 1)
	again := l.at(born+50*second, "open eof_ignored")[0]
	if again.Threshold != 50*second || again.Due != l.now || again.Since != born || again.ID != v.ID {
		t.Errorf("opened again by %v, due %v, since %v", again.Threshold, again.Due-born, again.Since-born)
	}
	if !l.d.Decide(&again, 50*second, l.now) {
		t.Fatal("does not stand at its own threshold")
	}
	// Updates follow the threshold that it opened by.
	l.at(born + 100*second - 1)
	l.at(born+100*second, "update eof_ignored")
	l.moved(0x100, flow.StateClose)
	if v := l.at(l.now, "resolved closed")[0]; v.Threshold != 50*second {
		t.Errorf("resolved by %v", v.Threshold)
	}
}

// Decided when it is long over: judged once more, by the threshold that holds, because
// more than the age depends on it.
func TestDecideOverdue(t *testing.T) {
	l, v := undecided(t)
	l.now = born + 100*second
	if l.d.Decide(v, 50*second, l.now) {
		t.Fatal("stands without being judged by its threshold")
	}
	if v := l.at(l.now, "open eof_ignored")[0]; v.Threshold != 50*second || v.Due != born+50*second {
		t.Errorf("opened by %v, due %v", v.Threshold, v.Due-born)
	}
}

func TestDecideIgnored(t *testing.T) {
	l, v := undecided(t)
	if l.d.Decide(v, 0, l.now) {
		t.Fatal("stands, though it is to be left alone")
	}
	for range 300 {
		l.at(l.now + second)
	}
	l.watched(1, 0)
	// A walk does not make it new.
	if l.found(0x100, 0) {
		t.Error("found again")
	}
	l.at(l.now + 3600*second)
	// Its next state is another matter.
	l.moved(0x100, flow.StateLastAck)
	l.at(l.now+60*second, "open peer_silent")
	l.moved(0x100, flow.StateClose)
	l.at(l.now, "resolved closed")
	l.watched(0, 0)
}

// The owner is another one than at the decision before.
func TestDecideShorter(t *testing.T) {
	l, v := undecided(t)
	l.d.Decide(v, 50*second, l.now)
	v = &l.at(born+50*second, "open eof_ignored")[0]
	if !l.d.Decide(v, 40*second, l.now) || v.Threshold != 40*second {
		t.Errorf("threshold %v", v.Threshold)
	}
	l.watched(1, 1)
}

// What is not an open any more stays as it is.
func TestDecideTooLate(t *testing.T) {
	l, v := undecided(t)
	l.moved(0x100, flow.StateClose)
	l.at(l.now, "resolved closed")
	if !l.d.Decide(v, 0, l.now) {
		t.Error("taken back, though it has ended")
	}
	l.watched(0, 0)
}

func TestDecideStall(t *testing.T) {
	for _, ignored := range []bool{false, true} {
		l := newLab(t, testThreshold)
		l.put(unread(0x100))
		l.stalls(0x100)
		v := &l.at(born+stallAfter, "open not_reading")[0]
		threshold := 40 * second
		if ignored {
			threshold = 0
		}
		if l.d.Decide(v, threshold, l.now) {
			t.Fatal("stands")
		}
		if ignored {
			for range 600 {
				l.stalls(0x100)
				l.at(l.now + second)
			}
			l.watched(1, 0)
			// With nothing that waits any more it is forgotten.
			l.change(0x100, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
			l.at(l.now + idlePoll)
			l.watched(0, 0)
			continue
		}
		l.at(born + 40*second - 1)
		if v := l.at(born+40*second, "open not_reading")[0]; v.Threshold != 40*second || v.Since != born {
			t.Errorf("by %v since %v", v.Threshold, v.Since-born)
		}
	}
}

func TestConfigure(t *testing.T) {
	l := newLab(t, testThreshold)
	for i, state := range []flow.State{flow.StateCloseWait, flow.StateCloseWait, flow.StateLastAck} {
		s := socket(uint64(i+1), uint64(i+1), state)
		l.put(s)
		l.promoted(s, born)
	}
	l.put(unread(4))
	l.stalls(4)
	l.at(born + 10*second)
	threshold := testThreshold
	threshold[finding.CloseWaitSilent], threshold[finding.ClosingStalled] = 12*second, 100*second
	threshold[finding.EstablishedStalled] = 5 * second
	l.d.Configure(threshold, tick, l.now)
	l.at(l.now, "open not_reading")
	l.at(born + 12*second - 1)
	first := l.at(born+12*second, "open eof_ignored", "open eof_ignored")
	l.d.Decide(&first[0], 0, l.now)
	// Longer again: what is open stays, what was left alone is judged anew.
	l.d.Configure(testThreshold, tick, l.now)
	l.watched(4, 2)
	l.moved(first[1].Sock.Addr, flow.StateClose)
	if v := l.at(l.now, "resolved closed")[0]; v.Threshold != 12*second {
		t.Errorf("resolved by %v", v.Threshold)
	}
	l.at(born+17*second, "update not_reading")
	l.at(born + 30*second - 1)
	if v := l.at(born+30*second, "open eof_ignored")[0]; v.Threshold != 30*second {
		t.Errorf("opened by %v", v.Threshold)
	}
	for l.now < born+59*second {
		l.now += second
		l.look()
	}
	l.verdicts()
	l.moved(first[0].Sock.Addr, flow.StateClose)
	l.moved(4, flow.StateClose)
	l.at(born+60*second-1, "resolved closed", "resolved closed")
	l.at(born+60*second, "open peer_silent")
}
