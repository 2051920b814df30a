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
