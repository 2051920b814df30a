package detect

import (
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Where a patrol takes longer to come by than the threshold, what moves is not read on its own:
// on a host with tens of thousands of such sockets that is what an idle agent would cost most.
func TestWhatMovesWaitsForThePatrol(t *testing.T) {
	const patrol = 3 * stallAfter
	read := func(s *flow.Sock) { s.CopiedSeq += 100; s.RcvNxt += 100 }
	l := newLab(t, testThreshold)
	l.d.Patrolled(patrol)
	l.put(unread(0x100))
	l.stalls(0x100)
	if next, _ := l.d.Next(); next != born+2*patrol+patience {
		t.Fatalf("met once, it is due after %v, want two patrols and patience", next-born)
	}
	l.now = born + patrol
	l.change(0x100, read)
	l.stalls(0x100)
	l.look()
	if next, _ := l.d.Next(); next != born+3*patrol+patience {
		t.Fatalf("it moved, and is due after %v, want two more patrols", next-born)
	}
	// The patrol that finds that it does not move any more says so at once.
	l.now = born + 2*patrol
	l.stalls(0x100)
	if v := l.at(born+2*patrol, "open not_reading")[0]; v.Since != born+patrol {
		t.Errorf("since %v, want since the reading before", v.Since-born)
	}
}

// Where no patrol comes by any more, it is read, and forgotten when nothing waits.
func TestWithoutPatrolsWhatMovesIsForgotten(t *testing.T) {
	l := newLab(t, testThreshold)
	l.d.Patrolled(stallAfter)
	l.put(unread(0x100))
	l.stalls(0x100)
	l.change(0x100, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
	l.at(born + 2*stallAfter)
	l.watched(0, 0)
}

// A stamp that proves something is due when it says, patrol or not.
func TestProvedStallsDoNotWaitForThePatrol(t *testing.T) {
	l := newLab(t, testThreshold)
	l.d.Patrolled(stallAfter)
	l.put(silent(0x100, 5*second))
	l.stalls(0x100)
	if next, _ := l.d.Next(); next != born+10*second+patience {
		t.Fatalf("due after %v, want 10s and patience", next-born)
	}
}
