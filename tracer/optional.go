package tracer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// lacking are parts that nothing else needs, to be left out.
type lacking struct{ syn, stacks bool }

// assignAll loads the programs: all that are wanted, or where the kernel refuses
// that, as many as it takes.
func (t *Tracer) assignAll(spec *ebpf.CollectionSpec) error {
	if t.opts.ReadOnly {
		return t.assign(spec)
	}
	if t.opts.Stacks != flow.StacksOff && !hasTracepoint("sock_recv_length") {
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
	if err := t.assign(spec); err != nil {
		return err
	}
	return t.dropLeftOut(parts)
}

// leaveOut keeps the kernel from being asked for programs. A collection is assigned
// whole, so programs that do nothing stand in until dropLeftOut.
func leaveOut(spec *ebpf.CollectionSpec, names ...string) {
	for name := range spec.Programs {
		if slices.Contains(names, name) {
			spec.Programs[name] = &ebpf.ProgramSpec{
				Name: name, Type: ebpf.RawTracepoint, License: "Dual BSD/GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
			}
		}
	}
}

func (t *Tracer) dropLeftOut(parts lacking) error {
	var errs []error
	if parts.syn {
		errs = append(errs, t.objs.LimboLocal.Close(), t.objs.LimboSyn.Close(), t.objs.LimboSynDropped.Close())
		t.objs.LimboLocal, t.objs.LimboSyn, t.objs.LimboSynDropped = nil, nil, nil
	}
	if parts.stacks {
		errs = append(errs, t.objs.LimboAccept.Close())
		t.objs.LimboAccept = nil
	}
	if parts.stacks || t.stacks.eofs != nil {
		errs = append(errs, t.objs.LimboEof.Close())
		t.objs.LimboEof = nil
	}
	return errors.Join(errs...)
}
