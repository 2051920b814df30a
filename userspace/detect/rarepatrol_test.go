package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// A patrol may take a thousandth of a core and no more: among tens of thousands of sockets that
// wait it comes by once a minute. A stall that begins after one is told at its threshold all the
// same, not at the patrol after it.
func TestStallsDoNotWaitForThePatrol(t *testing.T) {
	eachLab(t, testThreshold, func(t *testing.T, l *lab) {
		l.put(unread(0x100))
		l.stalls(0x100) // the only patrol there is
		l.change(0x100, func(s *flow.Sock) { s.CopiedSeq += 100; s.RcvNxt += 100 })
		moved := born + stallAfter + tick
		l.at(moved) // it was read and more came: from here on nothing moves
		l.at(moved + stallAfter - 1)
		if v := l.at(moved+stallAfter+tick, "open not_reading")[0]; v.Since != moved {
			t.Errorf("since %v, want %v, where it was seen to have moved", v.Since-born, moved-born)
		}
	})
}

// How long a suspect waits for company is a part of the promise, not of a host's size.
func TestSuspectsWaitForTheTick(t *testing.T) {
	for _, tick := range []time.Duration{10 * time.Millisecond, 250 * time.Millisecond, 2 * second} {
		l := newLab(t, testThreshold)
		l.d.Configure(testThreshold, tick, l.now)
		l.put(silent(0x100, 5*second))
		l.stalls(0x100)
		if next, _ := l.d.Next(); next != born+10*second+tick {
			t.Errorf("with a tick of %v it is looked at %v late", tick, next-born-10*second)
		}
	}
}
