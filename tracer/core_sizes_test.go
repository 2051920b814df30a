package tracer

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// CO-RE moves offsets; it does not tell that a field became wider. Reads copy as
// many bytes as headers/kernel.h says, so its widths must be the kernels'.
func TestFieldWidths(t *testing.T) {
	local := loadObject(t).Types
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			kernel := loadBTF(t, k.name)
			compared := 0
			for typ, err := range kernel.All() {
				if err != nil {
					t.Fatal(err)
				}
				ours := namesake(local, typ)
				if ours == nil {
					continue
				}
				compared += compareWidths(t, ours, typ)
			}
			if compared < 50 {
				t.Errorf("only %d fields compared", compared)
			}
		})
	}
}

// namesake finds our own declaration of a kernel's struct.
func namesake(local *btf.Spec, typ btf.Type) btf.Type {
	if len(*membersOf(typ)) == 0 || typ.TypeName() == "" {
		return nil
	}
	var ours *btf.Struct
	if err := local.TypeByName(typ.TypeName(), &ours); err != nil {
		return nil
	}
	return ours
}

// field is a named member, however deep in anonymous ones.
type field struct {
	typ  btf.Type
	bits btf.Bits
}

func fields(typ btf.Type) map[string]field {
	all := map[string]field{}
	for _, m := range *membersOf(typ) {
		if m.Name != "" {
			all[m.Name] = field{m.Type, m.BitfieldSize}
			continue
		}
		for name, f := range fields(btf.UnderlyingType(m.Type)) {
			all[name] = f
		}
	}
	return all
}

func compareWidths(t *testing.T, ours, theirs btf.Type) (compared int) {
	t.Helper()
	kernel := fields(theirs)
	for name, our := range fields(ours) {
		their, ok := kernel[name]
		if !ok || !scalar(our.typ) || our.bits != 0 {
			// Bitfields are read by relocations that know their width.
			continue
		}
		compared++
		if w, k := width(t, our), width(t, their); w != k {
			t.Errorf("%s.%s: %d bits in kernel.h, %d in the kernel", theirs.TypeName(), name, w, k)
		}
		if !scalar(their.typ) {
			t.Errorf("%s.%s is a %v in the kernel", theirs.TypeName(), name, their.typ)
		}
	}
	return compared
}

// scalar tells what is read whole, as opposed to structs that are read by field.
func scalar(typ btf.Type) bool {
	switch btf.UnderlyingType(typ).(type) {
	case *btf.Int, *btf.Pointer, *btf.Enum:
		return true
	}
	return false
}

// width is in bits.
func width(t *testing.T, f field) int {
	t.Helper()
	if f.bits != 0 {
		return int(f.bits)
	}
	size, err := btf.Sizeof(f.typ)
	if err != nil {
		t.Fatal(err)
	}
	return size * 8
}
