package tracer

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// ask has a CPU ask for so many stacks a second, tick by tick, and returns how many it
// took in the last of so many seconds.
func ask(s *stackShare, now *time.Duration, rate uint64, asks int, tick time.Duration, seconds int) (taken int) {
	var refused uint64
	credit := s.refill(*now, 0, s.refused, rate)
	refused = s.refused
	for range seconds {
		taken = 0
		for range int(time.Second / tick) {
			for range asks * int(tick/time.Millisecond) / 1000 {
				if credit > 0 {
					credit--
					taken++
				} else {
					refused++
				}
			}
			*now += tick
			credit = s.refill(*now, credit, refused, rate)
		}
	}
	return taken
}

// Where far more stacks are asked for than may be taken, fewer are.
func TestSamplesAreRarerUnderChurn(t *testing.T) {
	const rate = 2000
	for _, tt := range []struct {
		name       string
		asks       int
		tick       time.Duration
		seconds    int
		least, max int
	}{
		{"within", 1000, 250 * time.Millisecond, 5, 1000, 1000},
		{"all of it", 2000, 250 * time.Millisecond, 5, 2000, 2000},
		{"beyond", 2900, 250 * time.Millisecond, 5, 1990, 2000},
		{"far beyond", 5900, 250 * time.Millisecond, 5, 990, 1000},
		{"farther", 11900, 250 * time.Millisecond, 5, 490, 500},
		{"farther still", 23900, 250 * time.Millisecond, 5, 240, 250},
		{"a storm", 60000, 250 * time.Millisecond, 5, 120, 125},
		{"a storm's first second", 60000, 250 * time.Millisecond, 1, 1500, 2500},
		{"a short tick", 60000, 20 * time.Millisecond, 5, 115, 125},
		{"a long tick", 1900, time.Second, 5, 1900, 1900},
	} {
		var s stackShare
		now := time.Hour
		if got := ask(&s, &now, rate, tt.asks, tt.tick, tt.seconds); got < tt.least || got > tt.max {
			t.Errorf("%s: %d stacks in the last second, want %d to %d", tt.name, got, tt.least, tt.max)
		}
	}
}

func TestStackSharesRecover(t *testing.T) {
	const rate = 2000
	var s stackShare
	now := time.Hour
	ask(&s, &now, rate, 60000, 250*time.Millisecond, 5)
	if got := ask(&s, &now, rate, 1000, 250*time.Millisecond, 3); got != 1000 {
		t.Errorf("after a storm %d of 1000 stacks are taken", got)
	}
	// The agent was stopped, the machine suspended: no more than a second's at once.
	now += time.Hour
	if got := s.refill(now, s.given, s.refused, rate); got != rate {
		t.Errorf("after an hour %d stacks may be taken, want %d", got, rate)
	}
	// A clock that stands still gives nothing, and breaks nothing.
	if got := s.refill(now, 0, s.refused, rate); got != 0 {
		t.Errorf("in no time %d stacks may be taken", got)
	}
	// A program took one while the credit was written, so that more than was given is left.
	if got := s.refill(now, 1<<31, s.refused, rate); got > rate {
		t.Errorf("%d stacks may be taken", got)
	}
}

// A socket that ends leaves nothing behind, in the map or in the filter before it.
func TestStacksFilter(t *testing.T) {
	tr := attached(t, Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	newNamespace(t)
	l := listen(t, ipv4, 16)
	counted := func() (near, far uint32) {
		var filter limboFilter
		if err := tr.objs.StacksFilter.Get(&filter); err != nil {
			t.Fatal(err)
		}
		for _, n := range filter.Near {
			near += n
		}
		for _, n := range filter.Far {
			far += n
		}
		return near, far
	}
	kept := func() (n uint32) {
		var addr uint64
		var s limboSockStacks
		all := tr.objs.SocketStacks.Iterate()
		for all.Next(&addr, &s) {
			n++
		}
		if err := all.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var open []*socket
	for range 16 {
		s := newSocket(t, ipv4)
		openHere(s, l)
		open = append(open, s, acceptHere(l))
	}
	if near, far := counted(); min(near, far, kept()) < 16 {
		t.Errorf("%d sockets are kept, %d and %d are in the filter", kept(), near, far)
	}
	for _, s := range open {
		s.close()
	}
	eventually(t, "other people's sockets apart, nothing is left", func() bool {
		near, far := counted()
		return near == kept() && far == kept()
	})
}
