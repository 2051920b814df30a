package tracer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// lacking are parts that nothing else needs, to be left out.
type lacking struct{ syn, stacks bool }

// readers are the programs of a read-only Tracer; what is not named here is not
// verified and costs nothing.
var readers = []string{"limbo_holders", "limbo_learn", "limbo_read", "limbo_walk"}

// assignAll loads the programs that the start needs: all that are wanted, or where the
// kernel refuses that, as many as it takes.
func (t *Tracer) assignAll(spec *ebpf.CollectionSpec) error {
	t.late.kernel = btf.NewCache()
	if t.opts.ReadOnly {
		spec = spec.Copy()
		maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(readers, name) })
		return t.assign(spec)
	}
	t.preemptible = t.opts.preemptible || preemptible(t.late.kernel)
	if err := spec.Variables["preemptible"].Set(t.preemptible); err != nil {
		return fmt.Errorf("setting preemptible: %w", err)
	}
	if t.opts.Stacks != flow.StacksOff && !hasTracepoint(t.late.kernel, "sock_recv_length") {
		t.stacks.eofs = errNoEOF
	}
	least := lacking{syn: t.opts.Trace != nil, stacks: t.opts.Stacks == flow.StacksOff}
	refused := t.assignLacking(spec, least)
	if refused == nil {
		return nil
	}
	for _, parts := range []lacking{{least.syn, true}, {true, least.stacks}, {true, true}} {
		if parts == least || t.assignLacking(spec, parts) != nil {
			continue
		}
		if parts.stacks && !least.stacks {
			t.stacks.refused, t.opts.Stacks = refused, flow.StacksOff
		}
		if parts.syn && !least.syn {
			t.syn.refused = refused
		}
		return nil
	}
	return refused
}

func (t *Tracer) assignLacking(whole *ebpf.CollectionSpec, parts lacking) error {
	spec := whole.Copy()
	if parts.syn {
		leaveOut(spec, synPrograms...)
	}
	if parts.stacks {
		leaveOut(spec, stackPrograms...)
		if err := spec.Variables["stacks_wanted"].Set(false); err != nil {
			return fmt.Errorf("setting stacks_wanted: %w", err)
		}
	} else if t.stacks.eofs != nil {
		leaveOut(spec, "limbo_eof")
	}
	t.putOff(spec)
	return t.assign(spec)
}

// leaveOut keeps the kernel from being asked for programs.
func leaveOut(spec *ebpf.CollectionSpec, names ...string) {
	for _, name := range names {
		delete(spec.Programs, name)
	}
}
