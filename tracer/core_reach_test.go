package tracer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// CO-RE turns an access to a field that a kernel lacks into an instruction that
// the verifier refuses, unless it can never be reached: behind a
// bpf_core_field_exists() that came out as 0. So whether a program loads is a
// question of reachability, answered here as the verifier does it: by following
// the constants through the registers.

// constant is what is known about a register.
type constant struct {
	known bool
	value int64
}

type registers [asm.R10 + 1]constant

// join keeps what two ways to an instruction agree on.
func (r registers) join(other registers) registers {
	for i := range r {
		if r[i] != other[i] {
			r[i] = constant{}
		}
	}
	return r
}

// reach walks one program and the functions linked to it.
type reach struct {
	insns   asm.Instructions
	index   map[asm.RawInstructionOffset]int
	offset  []asm.RawInstructionOffset
	symbols map[string]int
	// known is what all ways to an instruction agree on; seen is false where there
	// was none yet.
	known []registers
	seen  []bool
	queue []int
	// poisoned are the reached instructions that the verifier would refuse.
	poisoned []string
}

// poisonedInstructions returns what the verifier would refuse in a relocated program.
func poisonedInstructions(insns asm.Instructions) ([]string, error) {
	symbols, err := insns.SymbolOffsets()
	if err != nil {
		return nil, fmt.Errorf("finding functions: %w", err)
	}
	r := &reach{
		insns:   insns,
		index:   map[asm.RawInstructionOffset]int{},
		symbols: symbols,
		known:   make([]registers, len(insns)),
		seen:    make([]bool, len(insns)),
	}
	for iter := insns.Iterate(); iter.Next(); {
		r.index[iter.Offset] = iter.Index
		r.offset = append(r.offset, iter.Offset)
	}
	r.arrive(0, registers{})
	for len(r.queue) > 0 {
		i := r.queue[0]
		r.queue = r.queue[1:]
		if err := r.step(i, r.known[i]); err != nil {
			return nil, fmt.Errorf("following instruction %d (%v): %w", i, insns[i], err)
		}
	}
	slices.Sort(r.poisoned)
	return slices.Compact(r.poisoned), nil
}

// arrive notes a way to an instruction, which is looked at again if that tells
// something new about it.
func (r *reach) arrive(i int, regs registers) {
	if r.seen[i] {
		regs = regs.join(r.known[i])
		if regs == r.known[i] {
			return
		}
	}
	r.known[i], r.seen[i] = regs, true
	r.queue = append(r.queue, i)
}

func (r *reach) step(i int, regs registers) error {
	ins := r.insns[i]
	switch class := ins.OpCode.Class(); {
	case ins.OpCode.IsDWordLoad():
		if ins.Constant == btf.COREBadRelocationSentinel {
			r.poisoned = append(r.poisoned, fmt.Sprint(ins.Source()))
			return nil
		}
		regs[ins.Dst] = constant{known: ins.Src == asm.R0 && ins.Reference() == "", value: ins.Constant}
	case class.IsALU():
		regs[ins.Dst] = compute(ins, regs)
	case class.IsJump():
		return r.jump(i, ins, regs)
	case class == asm.LdXClass:
		regs[ins.Dst] = constant{}
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		regs[ins.Src], regs[asm.R0] = constant{}, constant{}
	}
	r.arrive(i+1, regs)
	return nil
}

// compute gives the result of the operations that test for a field; of others
// nothing is known.
func compute(ins asm.Instruction, regs registers) constant {
	operand := constant{known: true, value: ins.Constant}
	if ins.OpCode.Source() == asm.RegSource {
		operand = regs[ins.Src]
	}
	op, dst := ins.OpCode.ALUOp(), regs[ins.Dst]
	wide := ins.OpCode.Class() == asm.ALU64Class
	if op == asm.Mov && operand.known && (wide || operand.value >= 0) {
		return operand
	}
	if !operand.known || !dst.known || !wide {
		return constant{}
	}
	switch op {
	case asm.And:
		return constant{true, dst.value & operand.value}
	case asm.Or:
		return constant{true, dst.value | operand.value}
	case asm.Xor:
		return constant{true, dst.value ^ operand.value}
	}
	return constant{}
}

func (r *reach) jump(i int, ins asm.Instruction, regs registers) error {
	switch op := ins.OpCode.JumpOp(); op {
	case asm.Exit:
		return nil
	case asm.Call:
		return r.call(i, ins, regs)
	case asm.Ja:
		return r.branch(i, ins, regs)
	case asm.JEq, asm.JNE:
		operand := constant{known: true, value: ins.Constant}
		if ins.OpCode.Source() == asm.RegSource {
			operand = regs[ins.Src]
		}
		if operand.known && regs[ins.Dst].known {
			if (operand.value == regs[ins.Dst].value) == (op == asm.JEq) {
				return r.branch(i, ins, regs)
			}
			r.arrive(i+1, regs)
			return nil
		}
	}
	r.arrive(i+1, regs)
	return r.branch(i, ins, regs)
}

func (r *reach) branch(i int, ins asm.Instruction, regs registers) error {
	if label := ins.Reference(); label != "" {
		to, ok := r.symbols[label]
		if !ok {
			return fmt.Errorf("no label %q", label)
		}
		r.arrive(to, regs)
		return nil
	}
	at := r.offset[i] + 1 + asm.RawInstructionOffset(ins.Offset)
	to, ok := r.index[at]
	if !ok {
		return fmt.Errorf("no instruction at %d", at)
	}
	r.arrive(to, regs)
	return nil
}

func (r *reach) call(i int, ins asm.Instruction, regs registers) error {
	switch {
	case ins.IsBuiltinCall() && ins.Constant == btf.COREBadRelocationSentinel:
		r.poisoned = append(r.poisoned, fmt.Sprint(ins.Source()))
		return nil
	case ins.IsFunctionCall():
		to, ok := r.symbols[ins.Reference()]
		if !ok {
			return fmt.Errorf("no function %q", ins.Reference())
		}
		r.arrive(to, registers{})
	}
	for reg := asm.R0; reg <= asm.R5; reg++ {
		regs[reg] = constant{}
	}
	r.arrive(i+1, regs)
	return nil
}

// A guard that does not hold what it guards must be noticed too.
func TestReachability(t *testing.T) {
	poison := asm.BuiltinFunc(btf.COREBadRelocationSentinel).Call()
	poison = poison.WithSource(asm.Comment("poison"))
	guarded := func(exists int64, guard asm.Instruction) asm.Instructions {
		return asm.Instructions{
			asm.LoadImm(asm.R1, exists, asm.DWord), guard, poison,
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return(),
		}
	}
	tests := []struct {
		name    string
		insns   asm.Instructions
		refused bool
	}{
		{"guarded, absent", guarded(0, asm.JEq.Imm(asm.R1, 0, "out")), false},
		{"guarded, said to exist", guarded(1, asm.JEq.Imm(asm.R1, 0, "out")), true},
		{"guarded the wrong way round", guarded(0, asm.JNE.Imm(asm.R1, 0, "out")), true},
		{"guarded by a constant in a register", guarded(0, asm.JEq.Reg(asm.R1, asm.R1, "out")), false},
		{"guarded by something unknown", guarded(0, asm.JEq.Imm(asm.R2, 0, "out")), true},
		{"not called", append(asm.Instructions{asm.Return()}, poison.WithSymbol("never"), asm.Return()), false},
		{"called", append(asm.Instructions{asm.Call.Label("later"), asm.Return()}, poison.WithSymbol("later"), asm.Return()), true},
		{
			"a loop that forgets",
			asm.Instructions{
				asm.Mov.Imm(asm.R1, 0),
				asm.JNE.Imm(asm.R1, 0, "poison").WithSymbol("again"),
				asm.Mov.Reg(asm.R1, asm.R2),
				asm.JEq.Imm(asm.R3, 7, "again"),
				asm.Return(),
				poison.WithSymbol("poison"), asm.Return(),
			},
			true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			poisoned, err := poisonedInstructions(tt.insns)
			if err != nil {
				t.Fatal(err)
			}
			if refused := len(poisoned) > 0; refused != tt.refused {
				t.Errorf("refused %v (%v), want %v", refused, poisoned, tt.refused)
			}
		})
	}
}
