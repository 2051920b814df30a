package tracer

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// byteSysctls were int before 5.13 (headers/core_fixes.h, CORE_READ_SYSCTL). No
// kernel at hand has them so any more, but its type information can be made.
var byteSysctls = []string{
	"sysctl_tcp_keepalive_probes", "sysctl_tcp_syn_retries", "sysctl_tcp_retries2", "sysctl_tcp_orphan_retries",
}

func TestSysctlsOfFourBytes(t *testing.T) {
	kernel := loadBTF(t, "5.10").Copy()
	var ipv4 *btf.Struct
	if err := kernel.TypeByName("netns_ipv4", &ipv4); err != nil {
		t.Fatal(err)
	}
	widened := 0
	for i, m := range ipv4.Members {
		if slices.Contains(byteSysctls, m.Name) {
			ipv4.Members[i].Type = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
			widened++
		}
	}
	if widened != len(byteSysctls) {
		t.Fatalf("%d of %d sysctls in the kernel's types", widened, len(byteSysctls))
	}
	object := programs(t)
	if _, poisoned := relocateAll(t, object, kernel); len(poisoned) > 0 {
		t.Errorf("would be refused: %v", poisoned)
	}
	four := map[string]bool{}
	for _, p := range object {
		fixups, err := btf.CORERelocate(p.relos, []*btf.Spec{kernel}, binary.LittleEndian, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, fixup := range fixups {
			if fixup.String() == "byte_sz=1->4" {
				four[p.accessed[i]] = true
			}
		}
	}
	for _, name := range byteSysctls {
		if !four["net.ipv4."+name] {
			t.Errorf("%s is not read as the 4 bytes that it has", name)
		}
	}
}
