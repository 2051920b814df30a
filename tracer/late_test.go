package tracer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// lateNames returns the names of what was put off.
func (t *Tracer) lateNames() []string {
	var names []string
	for _, p := range t.late.waiting {
		names = append(names, p.spec.Name)
	}
	return names
}

// What is put off is what the start does not use.
func TestPutOff(t *testing.T) {
	eof := []string{"limbo_eof"}
	least := []string{"limbo_local", "limbo_syn_dropped", "limbo_set_state_nested"}
	tests := []struct {
		name string
		opts Options
		want []string
	}{
		{"run", Options{Watch: stuckStates, Stacks: flow.StacksOn}, append(eof, least...)},
		{"all stacks", Options{Watch: stuckStates, Stacks: flow.StacksAlways}, least},
		{"no stacks", Options{Watch: stuckStates, Stacks: flow.StacksOff}, least},
		{"trace", Options{Trace: &Trace{}}, nil},
		{"list", Options{ReadOnly: true}, nil},
	}
	for _, tt := range tests {
		tr := load(t, tt.opts)
		want, got := slices.Sorted(slices.Values(tt.want)), slices.Sorted(slices.Values(tr.lateNames()))
		if tr.stacks.eofs != nil {
			want = slices.DeleteFunc(want, func(name string) bool { return name == "limbo_eof" })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
		if len(want) == 0 && (tr.late.whole != nil || tr.late.kernel != nil) {
			t.Errorf("%s: what programs are made of is kept for nothing", tt.name)
		}
		tr.LoadLate()
		eventually(t, "all programs", func() bool { tr.takeLate(); return len(tr.late.waiting) == 0 })
		for _, name := range want {
			if *tr.objs.byName()[name] == nil {
				t.Errorf("%s: %s was not loaded", tt.name, name)
			}
		}
		if tr.late.refused != 0 || tr.late.whole != nil || tr.late.kernel != nil || tr.late.rest != nil {
			t.Errorf("%s: %d refused, or what they are made of is kept", tt.name, tr.late.refused)
		}
	}
}

// Each program of the object has its place.
func TestByName(t *testing.T) {
	spec, err := loadLimbo()
	if err != nil {
		t.Fatal(err)
	}
	places := new(limboPrograms).byName()
	for name := range spec.Programs {
		if places[name] == nil {
			t.Errorf("%s is loaded and kept nowhere", name)
		}
	}
	if len(places) != len(spec.Programs) {
		t.Errorf("%d places for %d programs", len(places), len(spec.Programs))
	}
}

// loadBroken gives a Tracer whose kernel refuses programs.
func loadBroken(t *testing.T, names ...string) *Tracer {
	t.Helper()
	requireBPF(t)
	opts := Options{Watch: stuckStates, Stacks: flow.StacksOn}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	opts.setDefaults(cpus)
	spec, err := loadSpec(opts, cpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		// The verifier wants a result before the end.
		spec.Programs[name].Instructions = asm.Instructions{asm.Return()}
	}
	tr := &Tracer{opts: opts, cpus: cpus}
	if err := tr.assignAll(spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	if err := tr.prepare(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// What is refused after the start is said and counted, by name, and all else works.
func TestLateRefused(t *testing.T) {
	names := []string{"limbo_local", "limbo_syn_dropped", "limbo_set_state_nested"}
	for _, name := range names {
		tr := loadBroken(t, name)
		refused := tr.LoadLate()
		eventually(t, "a word on "+name, func() bool {
			if err := tr.Follow(true); err != nil {
				t.Fatal(err)
			}
			return len(refused) == 1
		})
		if err := <-refused; !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		eventually(t, "the other programs", func() bool { tr.takeLate(); return len(tr.late.waiting) == 0 })
		for _, other := range names {
			if there := *tr.objs.byName()[other] != nil; there == (other == name) {
				t.Errorf("%s is refused, and %s there: %v", name, other, there)
			}
		}
		if stats, err := tr.Stats(); err != nil || stats.Refused != 1 || len(refused) != 0 {
			t.Errorf("%s: %d refused (%v), %d more said", name, stats.Refused, err, len(refused))
		}
		if (tr.SYNCauses() == nil) == (name != names[2]) || (tr.SeesNested() == nil) == (name == names[2]) {
			t.Errorf("%s: SYNs: %v, nested: %v", name, tr.SYNCauses(), tr.SeesNested())
		}
		asked(t, tr)
	}
}

// asked calls all that needs a late program.
func asked(t *testing.T, tr *Tracer) {
	t.Helper()
	for _, on := range []bool{true, false} {
		if err := tr.WatchSYN(on); err != nil {
			t.Error(err)
		}
		if err := tr.WatchEOF(on); err != nil {
			t.Error(err)
		}
		if err := tr.Follow(on); err != nil {
			t.Error(err)
		}
	}
	if _, err := tr.HasAddress(flow.Key{}, netip.IPv4Unspecified()); err != nil {
		t.Error(err)
	}
}

// While programs are being loaded, nothing that wants them waits long, and they are
// attached as soon as they are there.
func TestWantedWhileLoading(t *testing.T) {
	tr := load(t, Options{Watch: stuckStates, Stacks: flow.StacksOn})
	tr.late.begun, tr.late.beside = true, true // as if the verifier took its time
	asked(t, tr)
	if err := tr.WatchSYN(true); err != nil {
		t.Fatal(err)
	}
	if err := tr.WatchEOF(true); err != nil {
		t.Fatal(err)
	}
	if err := tr.Follow(true); err != nil {
		t.Fatal(err)
	}
	if tr.syn.dropped != nil || tr.stacks.eof != nil || tr.second.link != nil {
		t.Fatal("attached what is not there")
	}
	l := &tr.late
	loadEach(slices.Clone(l.waiting), l.whole, l.kernel, &l.stop, l.done)
	if err := tr.Follow(true); err != nil {
		t.Fatal(err)
	}
	if tr.syn.dropped == nil || tr.second.link == nil || (tr.stacks.eof == nil) != (tr.stacks.eofs != nil) {
		t.Errorf("SYNs %v, end of file %v, nested %v", tr.syn.dropped, tr.stacks.eof, tr.second.link)
	}
}

// Close takes back what is being loaded.
func TestCloseWhileLoading(t *testing.T) {
	requireBPF(t)
	tr, err := Load(Options{Watch: stuckStates, Stacks: flow.StacksOn})
	if err != nil {
		t.Fatal(err)
	}
	refused := tr.LoadLate()
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	for err := range refused {
		t.Errorf("said although it was taken back: %v", err)
	}
	if len(tr.late.waiting) != 0 || tr.objs.LimboSetStateNested != nil {
		t.Error("a program is left")
	}
}
