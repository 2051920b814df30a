package tracer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// What kernels may lack, each asked for before it is used (headers/core_fixes.h).
const (
	noCookieHelper    = "bpf_func_id___v512.BPF_FUNC_check_mtu___v512"
	noTaskBTF         = "bpf_func_id.BPF_FUNC_get_current_task_btf"
	noTaskRegs        = "bpf_func_id.BPF_FUNC_task_pt_regs"
	noSockFromFile    = "bpf_func_id.BPF_FUNC_sock_from_file"
	noTableOfOwn      = "inet_hashinfo.pernet"
	noMicroseconds    = "tcp_sock.tcp_usec_ts"
	noEntryStamp      = "inet_timewait_sock.tw_entry_stamp"
	noTimeout         = "inet_connection_sock.icsk_timeout"
	noRetransmitTimer = "inet_connection_sock.icsk_retransmit_timer"
	noKeepaliveTimer  = "inet_connection_sock.icsk_keepalive_timer"
	noLinearTimeouts  = "net.ipv4.sysctl_tcp_syn_linear_timeouts"
	noRTOMax          = "inet_connection_sock.icsk_rto_max"
	noDropReason      = "skb_drop_reason.SKB_DROP_REASON_NOT_SPECIFIED"
	noNeighbourHeads  = "neigh_hash_table.hash_heads"
	noNeighbourHash   = "neighbour.hash"
	noMultipath       = "mptcp_sock.first"
)

// kernels are those of tracer/testdata/btf, made by `make btf`.
var kernels = []struct {
	name string
	// absent is what core_fixes.h finds missing there.
	absent []string
	// unused is there but not read.
	unused []string
}{
	{
		name: "5.10",
		absent: []string{
			noCookieHelper, noTaskBTF, noTaskRegs, noSockFromFile, noTableOfOwn, noEntryStamp, noMicroseconds,
			noKeepaliveTimer, noLinearTimeouts, noRTOMax,
			noDropReason, noNeighbourHeads, noNeighbourHash, noMultipath,
		},
		unused: []string{"netns_ipv4.tcp_death_row", "inet_timewait_death_row.hashinfo", "task_struct.pid", "pt_regs.ip", "pt_regs.r14", "pt_regs.sp"},
	},
	// sk_timer is in a union without a name, and not keepalive's any more.
	{
		name:   "6.1",
		absent: []string{noEntryStamp, noMicroseconds, noLinearTimeouts, noRTOMax, noNeighbourHeads, noNeighbourHash},
		unused: []string{"sock.", ".sk_timer"},
	},
	{
		name:   "6.12",
		absent: []string{noEntryStamp, noRTOMax, noNeighbourHeads, noNeighbourHash},
		unused: []string{"sock.", ".sk_timer"},
	},
	{name: "6.18", absent: []string{noTimeout, noKeepaliveTimer}},
	{name: "7.2", absent: []string{noTimeout, noRetransmitTimer}, unused: []string{".sk_timer"}},
}

func loadBTF(t *testing.T, kernel string) *btf.Spec {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "btf", kernel+".btf"))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("parsing BTF of %s: %v", kernel, err)
	}
	return spec
}

func loadObject(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := loadLimbo()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// program is a program of the object with its relocations.
type program struct {
	name  string
	insns asm.Instructions
	relos []*btf.CORERelocation
	// at is the instruction, and accessed the name of what it accesses.
	at       []int
	accessed []string
}

func programs(t *testing.T) []program {
	t.Helper()
	object := loadObject(t)
	var all []program
	for _, name := range slices.Sorted(maps.Keys(object.Programs)) {
		p := program{name: name, insns: object.Programs[name].Instructions}
		for i := range p.insns {
			if relo := btf.CORERelocationMetadata(&p.insns[i]); relo != nil {
				p.relos, p.at = append(p.relos, relo), append(p.at, i)
				p.accessed = append(p.accessed, accessed(t, object.Types, relo))
			}
		}
		all = append(all, p)
	}
	return all
}

// relocate does what loading does short of the kernel. It returns the fields and
// enum values that were asked for and not found, and the reachable accesses to
// what is not there.
func (p *program) relocate(t *testing.T, kernel *btf.Spec) (absent, poisoned []string) {
	t.Helper()
	noLocal := func(typ btf.Type) (btf.TypeID, error) {
		return 0, fmt.Errorf("%v asks for a local type id, which is not tested here", typ)
	}
	fixups, err := btf.CORERelocate(p.relos, []*btf.Spec{kernel}, binary.LittleEndian, noLocal)
	if err != nil {
		t.Fatalf("relocating %s: %v", p.name, err)
	}
	insns := slices.Clone(p.insns)
	poison := false
	for i, fixup := range fixups {
		how := fixup.String()
		if strings.HasSuffix(how, "_exists=1->0") {
			absent = append(absent, p.accessed[i])
		}
		poison = poison || strings.HasSuffix(how, "=poison")
		ins := &insns[p.at[i]]
		if err := fixup.Apply(ins); err != nil {
			t.Fatalf("relocating %s, %v: %v", p.name, p.relos[i], err)
		}
		*ins = ins.WithSource(asm.Comment(p.accessed[i]))
	}
	if !poison {
		return absent, nil
	}
	if poisoned, err = poisonedInstructions(insns); err != nil {
		t.Fatalf("following %s: %v", p.name, err)
	}
	return absent, poisoned
}

// reloFormat is how cilium/ebpf prints a relocation; it gives its parts no other way.
var reloFormat = regexp.MustCompile(`\[([0-9:]+)\], local_id=(\d+)\)$`)

// accessed names the field or enum value that a relocation is about.
func accessed(t *testing.T, local *btf.Spec, relo *btf.CORERelocation) string {
	t.Helper()
	parts := reloFormat.FindStringSubmatch(relo.String())
	if parts == nil {
		t.Fatalf("relocation printed in an unknown way: %v", relo)
	}
	id, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := local.TypeByID(btf.TypeID(id))
	if err != nil {
		t.Fatal(err)
	}
	indices := strings.Split(parts[1], ":")
	if enum, ok := btf.UnderlyingType(typ).(*btf.Enum); ok {
		return enum.Name + "." + enum.Values[number(t, indices[0])].Name
	}
	name := typ.TypeName()
	// The first index is into an array of the type: always 0.
	for _, index := range indices[1:] {
		typ = btf.UnderlyingType(typ)
		if array, ok := typ.(*btf.Array); ok {
			name, typ = name+"["+index+"]", array.Type
			continue
		}
		member := (*membersOf(typ))[number(t, index)]
		name, typ = name+"."+member.Name, member.Type
	}
	return name
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func relocateAll(t *testing.T, programs []program, kernel *btf.Spec) (absent, poisoned []string) {
	t.Helper()
	asked := map[string]bool{}
	for _, p := range programs {
		fields, accesses := p.relocate(t, kernel)
		for _, field := range fields {
			asked[field] = true
		}
		for _, access := range accesses {
			poisoned = append(poisoned, p.name+": "+access)
		}
	}
	return slices.Sorted(maps.Keys(asked)), poisoned
}

func TestRelocation(t *testing.T) {
	object := programs(t)
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			absent, poisoned := relocateAll(t, object, loadBTF(t, k.name))
			for _, ins := range poisoned {
				t.Errorf("would be refused: %s", ins)
			}
			if want := slices.Sorted(slices.Values(k.absent)); !slices.Equal(absent, want) {
				t.Errorf("found absent %v, want %v; where the object reads something new, run make btf", absent, want)
			}
		})
	}
}

// Every field that the stored BTF has is needed: without it either the object
// is refused, or core_fixes.h sees that and takes another way.
func TestRelocationNeedsEachField(t *testing.T) {
	object := programs(t)
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			whole := loadBTF(t, k.name)
			absent, _ := relocateAll(t, object, whole)
			var unused []string
			needed := 0
			for typ, err := range whole.All() {
				if err != nil {
					t.Fatal(err)
				}
				for i, m := range *membersOf(typ) {
					nowAbsent, poisoned := relocateAll(t, object, without(t, whole, typ, i))
					if len(poisoned) == 0 && slices.Equal(nowAbsent, absent) {
						unused = append(unused, typ.TypeName()+"."+m.Name)
					} else {
						needed++
					}
				}
			}
			slices.Sort(unused)
			if want := slices.Sorted(slices.Values(k.unused)); !slices.Equal(unused, want) {
				t.Errorf("relocates as if nothing were missing without %v, want that of %v", unused, want)
			}
			if needed < 50 {
				t.Errorf("only %d fields in the BTF of %s: not the BTF of a kernel", needed, k.name)
			}
		})
	}
}

// membersOf gives the fields of a struct or union, none for other types.
func membersOf(typ btf.Type) *[]btf.Member {
	switch typ := typ.(type) {
	case *btf.Struct:
		return &typ.Members
	case *btf.Union:
		return &typ.Members
	}
	return new([]btf.Member)
}

// without copies a kernel's types and takes one field away.
func without(t *testing.T, kernel *btf.Spec, typ btf.Type, member int) *btf.Spec {
	t.Helper()
	id, err := kernel.TypeID(typ)
	if err != nil {
		t.Fatal(err)
	}
	mutated := kernel.Copy()
	owner, err := mutated.TypeByID(id)
	if err != nil {
		t.Fatal(err)
	}
	members := membersOf(owner)
	*members = slices.Delete(*members, member, member+1)
	return mutated
}
