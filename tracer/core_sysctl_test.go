package tracer

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// byteSysctls were int before 5.13 (headers/core_fixes.h, CORE_READ_SYSCTL). No
// kernel at hand has them so any more, but its type information can be made.
var byteSysctls = []string{
	"sysctl_tcp_keepalive_probes", "sysctl_tcp_syn_retries", "sysctl_tcp_retries2", "sysctl_tcp_orphan_retries",
}

func TestSysctlsOfFourBytes(t *testing.T) {
	object, kernel := loadObject(t), loadBTF(t, "5.10").Copy()
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
	if _, poisoned := relocateAll(t, object, kernel); len(poisoned) > 0 {
		t.Errorf("would be refused: %v", poisoned)
	}
	sizes := map[string]bool{}
	for _, prog := range object.Programs {
		for name, size := range sizesRead(t, prog, object.Types, kernel) {
			sizes[name] = size == "byte_sz=1->4"
		}
	}
	for _, name := range byteSysctls {
		if four, asked := sizes["net.ipv4."+name]; !four {
			t.Errorf("%s: asked for its size %v, 4 bytes %v", name, asked, four)
		}
	}
}

// sizesRead tells how each relocation of a field's size comes out.
func sizesRead(t *testing.T, prog *ebpf.ProgramSpec, local, kernel *btf.Spec) map[string]string {
	t.Helper()
	var relos []*btf.CORERelocation
	for i := range prog.Instructions {
		if relo := btf.CORERelocationMetadata(&prog.Instructions[i]); relo != nil {
			relos = append(relos, relo)
		}
	}
	fixups, err := btf.CORERelocate(relos, []*btf.Spec{kernel}, prog.ByteOrder, nil)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]string{}
	for i, fixup := range fixups {
		if s := fixup.String(); strings.HasPrefix(s, "byte_sz=") {
			sizes[accessed(t, local, relos[i])] = s
		}
	}
	return sizes
}
