package tracer

import (
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
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
	tr.preemptible = false
	follow(false, false)
	follow(true, true)
	follow(true, true)
	follow(false, true)
	tr.second.needed -= secondStays + time.Second
	follow(false, false)
	follow(true, true)
	if stats, err := tr.Stats(); err != nil || stats.Recursion != 0 && !preempted() {
		t.Errorf("%d transitions lost (%v): none can be", stats.Recursion, err)
	}
}

// preempted reports whether this kernel preempts programs.
func preempted() bool { return preemptible(btf.NewCache()) }

// Where programs are preempted it is always there.
func TestFollowWherePreempted(t *testing.T) {
	tr := load(t, Options{Watch: stuckStates, preemptible: true})
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	if tr.late.begun {
		t.Error("the others were not left for later")
	}
	for range 2 {
		if tr.second.link == nil {
			t.Fatal("not attached")
		}
		if err := tr.Follow(false); err != nil {
			t.Fatal(err)
		}
		tr.second.needed -= secondStays + time.Second
	}
}

// A task may go on on another CPU between the two programs: what the first one saw
// there is not new to the second one here.
func TestMarkedElsewhere(t *testing.T) {
	const near, far = 3, 20 // below the last mark
	tests := []struct {
		name        string
		preemptible bool
		at          uint64
		new         bool
	}{
		{"moved", true, near, false},
		{"long ago", true, far, true},
		{"where nobody is moved", false, near, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := newNamespace(t)
			here := onOneCPU(t)
			tr := load(t, Options{Watch: stuckStates, preemptible: tt.preemptible})
			if tr.cpus < 2 {
				t.Skip("one CPU: there is no other")
			}
			if tr.preemptible != tt.preemptible {
				t.Skip("this kernel moves tasks")
			}
			tr.need(&tr.objs.LimboSetStateNested, 0)
			if tr.second.refused != nil {
				t.Fatalf("%+v", verifierLog(tr.second.refused))
			}
			if err := tr.addSecond(); err != nil { // alone: the marks are the test's
				t.Fatal(err)
			}
			l := listen(t, ipv4, 16)
			client := newSocket(t, ipv4)
			client.connect(l.local())
			server := l.accept()
			m := limboMarks{Top: 100}
			m.Mark[m.Top-tt.at].Cookie, m.Mark[m.Top-tt.at].State = server.cookie, uint64(flow.StateCloseWait)
			for cpu := range uint32(tr.cpus) {
				if cpu == here {
					continue
				}
				if err := tr.objs.Marks.Put(cpu, &m); err != nil {
					t.Fatal(err)
				}
			}
			client.shutdown()
			seen := watching(ns)
			seen.age(t, tr)
			if n := unannounced(seen, map[uint64]bool{server.cookie: true}); (n == 0) != tt.new {
				t.Errorf("announced %v, want %v", n == 0, tt.new)
			}
		})
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
