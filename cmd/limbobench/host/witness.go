package host

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Witness counts the transitions of connections in one network namespace, by
// a program of its own on the tracepoint: what it saw, another program could
// see as well. That is not always what happened: kernels may keep tracepoints
// from BPF programs, for instance while a process is current that must not be
// watched, and whatever interrupts that process is hidden with it.
type Witness struct {
	count *ebpf.Map
	prog  *ebpf.Program
	link  link.Link
}

// Seen is what a Witness saw.
type Seen struct {
	Transitions uint64
	// Missed are runs that the kernel left out because they came while the
	// witness itself ran on that CPU; transitions of any namespace.
	Missed uint64
}

// NewWitness attaches a witness for the network namespace of this inode number.
func NewWitness(netns uint64) (w *Witness, err error) {
	w = &Witness{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	ins, err := w.instructions(netns)
	if err != nil {
		return nil, err
	}
	w.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "limbobench_wit", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state",
		Instructions: ins, License: "Dual BSD/GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("loading the witness: %w", err)
	}
	w.link, err = link.AttachTracing(link.TracingOptions{Program: w.prog, AttachType: ebpf.AttachTraceRawTp})
	if err != nil {
		return nil, fmt.Errorf("attaching the witness: %w", err)
	}
	return w, nil
}

// States of include/net/tcp_states.h.
const (
	tcpClose  = 7
	tcpListen = 10
)

// instructions count what is in the namespace and not a listener that begins
// or ends.
func (w *Witness) instructions(netns uint64) (asm.Instructions, error) {
	net, inum, err := netOffsets()
	if err != nil {
		return nil, err
	}
	w.count, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("creating the witness's counter: %w", err)
	}
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),  // struct sock *
		asm.LoadMem(asm.R3, asm.R1, 8, asm.DWord),  // old state
		asm.LoadMem(asm.R4, asm.R1, 16, asm.DWord), // new state
		asm.LoadMem(asm.R2, asm.R2, net, asm.DWord),
		asm.LoadMem(asm.R2, asm.R2, inum, asm.Word),
		asm.LoadImm(asm.R5, int64(netns), asm.DWord),
		asm.JNE.Reg(asm.R2, asm.R5, "out"),
		asm.JNE.Imm(asm.R3, tcpClose, "ending"),
		asm.JEq.Imm(asm.R4, tcpListen, "out"),
		asm.JNE.Imm(asm.R3, tcpListen, "count").WithSymbol("ending"),
		asm.JEq.Imm(asm.R4, tcpClose, "out"),
		asm.LoadMapValue(asm.R1, w.count.FD(), 0).WithSymbol("count"),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}, nil
}

// netOffsets returns where struct sock has its namespace, and that its inode
// number.
func netOffsets() (net, inum int16, err error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, 0, fmt.Errorf("reading the kernel's types: %w", err)
	}
	var sum [2]uint32
	for i, path := range [2][]string{{"sock", "__sk_common", "skc_net"}, {"net", "ns", "inum"}} {
		var outer *btf.Struct
		if err := kernel.TypeByName(path[0], &outer); err != nil {
			return 0, 0, fmt.Errorf("finding struct %s: %w", path[0], err)
		}
		for _, name := range path[1:] {
			m, err := member(outer, name)
			if err != nil {
				return 0, 0, err
			}
			sum[i] += m.Offset.Bytes()
			outer, _ = btf.UnderlyingType(m.Type).(*btf.Struct)
		}
	}
	return int16(sum[0]), int16(sum[1]), nil
}

func member(s *btf.Struct, name string) (btf.Member, error) {
	if s != nil {
		for _, m := range s.Members {
			if m.Name == name {
				return m, nil
			}
		}
	}
	return btf.Member{}, fmt.Errorf("reading the kernel's types: there is no member %s", name)
}

// Read returns what was seen so far.
func (w *Witness) Read() (Seen, error) {
	var s Seen
	if err := w.count.Lookup(uint32(0), &s.Transitions); err != nil {
		return Seen{}, fmt.Errorf("reading the witness's counter: %w", err)
	}
	stats, err := w.prog.Stats()
	if err != nil {
		return Seen{}, fmt.Errorf("reading what the witness missed: %w", err)
	}
	s.Missed = stats.RecursionMisses
	return s, nil
}

// Close detaches and unloads it.
func (w *Witness) Close() error {
	var errs []error
	if w.link != nil {
		errs = append(errs, w.link.Close())
	}
	if w.prog != nil {
		errs = append(errs, w.prog.Close())
	}
	if w.count != nil {
		errs = append(errs, w.count.Close())
	}
	return errors.Join(errs...)
}
