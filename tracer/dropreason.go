package tracer

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// dropReasons are the running kernel's names: the numbers differ between
// kernels (include/net/dropreason-core.h).
type dropReasons struct {
	core, subsystems map[uint32]string
}

const (
	reasonPrefix    = "SKB_DROP_REASON_"
	subsystemPrefix = "SKB_DROP_REASON_SUBSYS_"
	// The upper half of a reason names the subsystem whose number the lower
	// half is (include/net/dropreason.h, 6.4).
	subsystemShift = 16
	// notSpecified is no reason: the caller gave none.
	notSpecified = "NOT_SPECIFIED"
)

// kernelDropReasons reads the names from the kernel's BTF, which loading the
// programs has read already. None where the kernel has none (before 5.17).
func kernelDropReasons() *dropReasons {
	r := &dropReasons{}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return r
	}
	r.core = enumNames(kernel, "skb_drop_reason", reasonPrefix)
	r.subsystems = enumNames(kernel, "skb_drop_reason_subsys", subsystemPrefix)
	return r
}

func enumNames(kernel *btf.Spec, enum, prefix string) map[uint32]string {
	var e *btf.Enum
	if err := kernel.TypeByName(enum, &e); err != nil {
		return nil
	}
	names := make(map[uint32]string, len(e.Values))
	for _, v := range e.Values {
		if name, ok := strings.CutPrefix(v.Name, prefix); ok {
			names[uint32(v.Value)] = name
		}
	}
	return names
}

// name returns the name of a reason, "" for none. A subsystem's reason gets the
// subsystem's name and its number there; what has no name keeps its number.
func (r *dropReasons) name(reason uint32) string {
	if reason == 0 {
		return ""
	}
	if sub := reason >> subsystemShift; sub != 0 {
		name, ok := r.subsystems[sub]
		if !ok {
			name = fmt.Sprintf("SUBSYS_%d", sub)
		}
		return fmt.Sprintf("%s:%d", name, reason&(1<<subsystemShift-1))
	}
	name, ok := r.core[reason]
	switch {
	case !ok:
		return fmt.Sprintf("REASON_%d", reason)
	case name == notSpecified:
		return ""
	}
	return name
}
