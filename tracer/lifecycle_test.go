package tracer

import (
	"errors"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func TestTwoTracers(t *testing.T) {
	ns := newNamespace(t)
	trs := []*Tracer{
		attached(t, Options{Watch: stuckStates}),
		attached(t, Options{Watch: flow.StateCloseWait.Bit()}),
	}
	st := makeCloseWait(t, ipv4)
	for i, tr := range trs {
		seen := watching(ns)
		e := promotionOf(t, tr, seen, &st)
		if e.Cookie != st.cookie {
			t.Errorf("tracer %d: promoted %#x, want %#x", i, e.Cookie, st.cookie)
		}
	}
	// The end of one is not the end of the other.
	if err := trs[0].Detach(); err != nil {
		t.Fatal(err)
	}
	again := makeCloseWait(t, ipv4)
	promotionOf(t, trs[1], watching(ns), &again)
}

// ids are the kernel's numbers of all that a Tracer loaded.
type ids struct {
	programs []ebpf.ProgramID
	maps     []ebpf.MapID
}

func loadedBy(t *testing.T, tr *Tracer) ids {
	t.Helper()
	var all ids
	programs := reflect.ValueOf(tr.objs.limboPrograms)
	for i := range programs.NumField() {
		prog := programs.Field(i).Interface().(*ebpf.Program)
		if prog == nil {
			continue // this kernel has nothing to attach it to
		}
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		all.programs = append(all.programs, id)
		// Those of the variables too, which are no fields.
		maps, _ := info.MapIDs()
		all.maps = append(all.maps, maps...)
	}
	if len(all.maps) == 0 {
		t.Fatal("the programs use no maps: the test looks at the wrong thing")
	}
	return all
}

// Nothing stays in the kernel, and nothing goes away while it is in use.
func TestCloseLeavesNothing(t *testing.T) {
	requireBPF(t)
	tr, err := Load(Options{Watch: stuckStates, Stacks: flow.StacksAlways})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	if err := tr.Holders(flow.Wanted{States: flow.StateCloseWait.Bit()}, func(*flow.Held) {}); err != nil {
		t.Fatal(err)
	}
	loaded := loadedBy(t, tr)
	if err := tr.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	if err := tr.Events(func(*flow.Event) {}); err == nil {
		t.Error("reading events of a closed Tracer: no error")
	}
	// The kernel frees after a grace period, and what is mapped when nobody can
	// reach it any more.
	tr = nil
	eventually(t, "programs and maps gone", func() bool {
		runtime.GC()
		return loaded.gone(t)
	})
}

func (all ids) gone(t *testing.T) bool {
	t.Helper()
	for _, id := range all.programs {
		prog, err := ebpf.NewProgramFromID(id)
		if err == nil {
			prog.Close()
			return false
		}
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for _, id := range all.maps {
		m, err := ebpf.NewMapFromID(id)
		if err == nil {
			m.Close()
			return false
		}
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return true
}

func TestDetachStopsEvents(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	seen := watching(ns)
	if err := tr.Detach(); err != nil {
		t.Fatal(err)
	}
	makeCloseWait(t, ipv4)
	seen.age(t, tr)
	if len(seen.events) != 0 {
		t.Errorf("events of a detached Tracer: %+v", seen.events)
	}
}

func TestWait(t *testing.T) {
	tr := load(t, Options{Trace: &Trace{}})
	start := time.Now()
	if err := tr.Wait(start.Add(20*time.Millisecond), func(*flow.Event) {}); err != nil {
		t.Fatal(err)
	}
	// epoll counts in milliseconds.
	if d := time.Since(start); d < 19*time.Millisecond {
		t.Errorf("waited %v, want 20 ms: nothing was attached", d)
	}
	woken := make(chan error)
	go func() { woken <- tr.Wait(time.Now().Add(time.Hour), func(*flow.Event) {}) }()
	deadline := time.After(patience)
	for {
		// Wake may come before the other goroutine waits; then it is not kept.
		if err := tr.Wake(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-woken:
			if err != nil {
				t.Fatal(err)
			}
			return
		case <-deadline:
			t.Fatal("Wake did not end the wait")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestReadOnlyAttachesNothing(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{ReadOnly: true})
	if len(tr.links) != 0 {
		t.Errorf("%d programs attached", len(tr.links))
	}
	st := makeCloseWait(t, ipv4)
	if s := find(t, tr, st.cookie); !st.is(&s) || s.NetNS != ns.inode {
		t.Errorf("found %+v, want a socket in close_wait at %v", s, st.local)
	}
}

// The clock of events is the one that BootTime tells.
func TestBootTime(t *testing.T) {
	ns := newNamespace(t)
	tr := attached(t, Options{Trace: &Trace{}})
	seen := watching(ns)
	before := BootTime()
	pair(t, ipv4)
	after := BootTime()
	seen.take(t, tr)
	if len(seen.events) == 0 {
		t.Fatal("no events of a connection")
	}
	for _, e := range seen.events {
		if e.Time < before || e.Time > after {
			t.Errorf("%v to %v at %v, want %v to %v", e.Old, e.New, e.Time, before, after)
		}
	}
}
