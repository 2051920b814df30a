package tracer

import (
	"testing"
	"time"
)

// The second program is there while somebody wants every transition, and a while
// after.
func TestFollow(t *testing.T) {
	tr := load(t, Options{Watch: stuckStates})
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	follow := func(every, attached bool) {
		t.Helper()
		if err := tr.Follow(every); err != nil {
			t.Fatal(err)
		}
		var marking bool
		if err := tr.objs.NestedAttached.Get(&marking); err != nil {
			t.Fatal(err)
		}
		if got := tr.second.link != nil; got != attached || marking != attached {
			t.Fatalf("attached %v, marking %v, want %v", got, marking, attached)
		}
	}
	follow(false, false)
	follow(true, true)
	follow(true, true)
	follow(false, true)
	tr.second.needed -= secondStays + time.Second
	follow(false, false)
	follow(true, true)
	if stats, err := tr.Stats(); err != nil || stats.Recursion != 0 {
		t.Errorf("%d transitions lost (%v): none can be", stats.Recursion, err)
	}
}

// Under trace it is there from the start.
func TestFollowUnderTrace(t *testing.T) {
	tr := load(t, Options{Trace: &Trace{}})
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	if err := tr.Follow(false); err != nil || tr.second.link == nil {
		t.Errorf("not attached (%v)", err)
	}
}

// What is hidden counts as hidden without the second program, and as lost with it
// if that did not see it either, at the second look.
func TestUnseen(t *testing.T) {
	s := &second{}
	tests := []struct {
		name           string
		hidden, nested uint64
		want           uint64
	}{
		{"nothing", 0, 0, 0},
		{"taken over", 5, 5, 0},
		{"read in between", 7, 6, 0},
		{"caught up", 7, 7, 0},
		{"missing", 9, 7, 0},
		{"still missing", 9, 7, 2},
		{"not counted twice", 12, 10, 2},
	}
	for _, tt := range tests {
		if got := s.unseen(tt.hidden, tt.nested); got != tt.want {
			t.Errorf("%s: %d lost, want %d", tt.name, got, tt.want)
		}
	}
	s.attached(100, 50)
	if s.unseen(103, 53) != 2 || s.unseen(105, 53) != 2 || s.unseen(105, 53) != 4 {
		t.Error("a new attachment forgets or repeats what was lost before")
	}
}
