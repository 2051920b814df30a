package detect

import (
	"slices"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestKindsTurnedOff(t *testing.T) {
	for kind := finding.SynSentStalled; kind < finding.KindCount; kind++ {
		threshold := testThreshold
		threshold[kind] = 0
		l := newLab(t, threshold)
		want := 0
		for i, state := range []flow.State{
			flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck,
		} {
			s := socket(uint64(i+1), uint64(i+1), state)
			l.put(s)
			l.promoted(s, born)
			if finding.KindOf(state) != kind {
				want++
			}
		}
		var got []finding.Kind
		for l.now < born+200*second {
			l.now += second
			l.look()
			for _, v := range l.verdicts() {
				if v.Status == finding.Open {
					got = append(got, v.Kind)
				}
			}
		}
		if len(got) != want || slices.Contains(got, kind) {
			t.Errorf("%v is off: opened %v, want the %d others", kind, got, want)
		}
	}
}

// FIN_WAIT1 is watched for FIN_WAIT2's sake even if nobody wants to hear of it.
func TestTurnedOffStateLeadsToAnother(t *testing.T) {
	threshold := testThreshold
	threshold[finding.ClosingStalled] = 0
	l := newLab(t, threshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 10*second
	l.moved(s.Addr, flow.StateFinWait2)
	l.at(born + 40*second - 1)
	l.at(born+40*second, "open half_closed")
}

// A socket that goes on to a state nobody asked for is forgotten at once.
func TestTurnedOffStateIsForgotten(t *testing.T) {
	threshold := testThreshold
	threshold[finding.ClosingStalled] = 0
	l := newLab(t, threshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	l.moved(s.Addr, flow.StateLastAck)
	l.at(l.now, "resolved closed")
	l.watched(0, 0)
}

// Events do not carry everything that a reading told.
func TestEventsForgetNothing(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.CgroupID, s.Role, s.Inode = 4711, flow.RoleServer, 12
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	l.moved(s.Addr, flow.StateLastAck, func(e *flow.Event) { e.CgroupID = 0 })
	v := l.at(l.now, "resolved closed")[0]
	if v.Sock.CgroupID != s.CgroupID || v.Sock.Role != s.Role || v.Sock.Inode != s.Inode {
		t.Errorf("cgroup %d, role %v, inode %d", v.Sock.CgroupID, v.Sock.Role, v.Sock.Inode)
	}
}

// Sockets in a state that nobody watches are nobody's: not those that an event
// names, not those that a walk shows.
func TestOtherStatesAreIgnored(t *testing.T) {
	for state := range flow.StateMax + 3 {
		if kind := finding.KindOf(state); kind != finding.KindNone && kind != finding.EstablishedStalled {
			continue
		}
		l := newLab(t, testThreshold)
		s := socket(0x100, 7, state)
		l.put(s)
		l.promoted(s, born)
		l.moved(s.Addr, state)
		if l.put(s); l.found(s.Addr, 0) {
			t.Errorf("%v: a walk found something", state)
		}
		for range 100 {
			l.at(l.now + second)
		}
		l.watched(0, 0)
	}
}
