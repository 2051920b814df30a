package tracer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// errNoEOF is said where reading the end of file cannot be seen.
var errNoEOF = errors.New("no tracepoint sock_recv_length: it came with Linux 6.3")

// hasTracepoint reports whether the kernel has a raw tracepoint of that name.
func hasTracepoint(cache *btf.Cache, name string) bool {
	kernel, err := cache.Kernel()
	if err != nil {
		return false
	}
	var typ *btf.Typedef
	return kernel.TypeByName("btf_trace_"+name, &typ) == nil
}

// preemptible reports whether programs of tracepoints may be preempted, as they may from
// 7.0 on (a46023d5616e "tracing: Guard __DECLARE_TRACE() use of __DO_TRACE_CALL() with
// SRCU-fast"). What tells is the SRCU of tracepoints; up to 6.12 there was one for those
// in idle CPUs, when tracepoints had no tracepoint_ext yet.
func preemptible(cache *btf.Cache) bool {
	kernel, err := cache.Kernel()
	if err != nil {
		return false
	}
	var srcu *btf.Var
	var ext *btf.Struct
	return kernel.TypeByName("tracepoint_srcu_srcu_data", &srcu) == nil && kernel.TypeByName("tracepoint_ext", &ext) == nil
}

// errNoRegisters is said where nobody tells where a system call came from.
var errNoRegisters = errors.New("no bpf_task_pt_regs: it came with Linux 5.15")

// SystemCallRegisters returns nil where a program may look at the registers with which a
// system call was made: they tell the goroutine, and who called the C library. Distributions
// have it in older kernels too, so the kernel's types are asked.
func SystemCallRegisters() error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("reading kernel types: %w", err)
	}
	var helpers *btf.Enum
	if err := kernel.TypeByName("bpf_func_id", &helpers); err != nil {
		return fmt.Errorf("reading kernel types: %w", err)
	}
	if !slices.ContainsFunc(helpers.Values, func(v btf.EnumValue) bool { return v.Name == "BPF_FUNC_task_pt_regs" }) {
		return errNoRegisters
	}
	return nil
}
