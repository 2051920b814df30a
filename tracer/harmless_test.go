package tracer

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// harmful are the helpers that a tracing program could change something with:
// a socket, a process, or what a system call returns.
var harmful = map[asm.BuiltinFunc]string{
	asm.FnSetsockopt:       "bpf_setsockopt",
	asm.FnProbeWriteUser:   "bpf_probe_write_user",
	asm.FnOverrideReturn:   "bpf_override_return",
	asm.FnSendSignal:       "bpf_send_signal",
	asm.FnSendSignalThread: "bpf_send_signal_thread",
	asm.FnSysBpf:           "bpf_sys_bpf",
	asm.FnCopyFromUser:     "bpf_copy_from_user (it sleeps)",
}

// TestProgramsChangeNothing: no program calls what could change a socket or a
// process; a kernel function (bpf_sock_destroy is one) would show too.
func TestProgramsChangeNothing(t *testing.T) {
	spec, err := loadLimbo()
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for name, prog := range spec.Programs {
		for _, ins := range prog.Instructions {
			if ins.IsKfuncCall() {
				t.Errorf("%s calls the kernel function %s", name, ins.Reference())
			}
			if !ins.IsBuiltinCall() {
				continue
			}
			calls++
			if what, bad := harmful[asm.BuiltinFunc(ins.Constant)]; bad {
				t.Errorf("%s calls %s", name, what)
			}
		}
	}
	if len(spec.Programs) < 8 || calls < 50 {
		t.Errorf("%d calls in %d programs seen: the test looks at nothing", calls, len(spec.Programs))
	}
}
