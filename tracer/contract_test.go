package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// What C and Go must agree on and bpf2go does not generate.

func enumValues(t *testing.T, object *ebpf.CollectionSpec, name string) map[string]uint64 {
	t.Helper()
	var enum *btf.Enum
	if err := object.Types.TypeByName(name, &enum); err != nil {
		t.Fatalf("finding enum %s: %v", name, err)
	}
	values := map[string]uint64{}
	for _, v := range enum.Values {
		values[v.Name] = v.Value
	}
	return values
}

func TestEventKinds(t *testing.T) {
	want := map[string]uint64{
		"EVENT_NONE":       uint64(flow.EventNone),
		"EVENT_PROMOTED":   uint64(flow.EventPromoted),
		"EVENT_TRANSITION": uint64(flow.EventTransition),
		"EVENT_RETRANSMIT": uint64(flow.EventRetransmit),
	}
	got := enumValues(t, loadObject(t), "event_type")
	if !maps.Equal(got, want) {
		t.Errorf("event_type is %v, flow has %v", got, want)
	}
	if len(want) != int(flow.EventKindCount) {
		t.Errorf("flow has %d kinds, %d compared", flow.EventKindCount, len(want))
	}
}

func TestRetransmitKinds(t *testing.T) {
	got := enumValues(t, loadObject(t), "retransmit_kind")
	want := map[string]uint64{"RETRANSMIT_KINDS": uint64(flow.RetransmitKinds)}
	for k := range flow.RetransmitKinds {
		want["RETRANSMIT_"+strings.ToUpper(k.String())] = uint64(k)
	}
	if !maps.Equal(got, want) {
		t.Errorf("retransmit_kind is %v, flow has %v", got, want)
	}
}

// stateDefine is a state in headers/kernel.h, which has them from
// include/net/tcp_states.h.
var stateDefine = regexp.MustCompile(`(?m)^\tTCP_([A-Z_0-9]+) = (\d+),$`)

func TestStates(t *testing.T) {
	header, err := os.ReadFile(filepath.Join("..", "headers", "kernel.h"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the C headers are not beside the test: it runs away from the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]flow.State{
		"ESTABLISHED":  flow.StateEstablished,
		"SYN_SENT":     flow.StateSynSent,
		"SYN_RECV":     flow.StateSynRecv,
		"FIN_WAIT1":    flow.StateFinWait1,
		"FIN_WAIT2":    flow.StateFinWait2,
		"TIME_WAIT":    flow.StateTimeWait,
		"CLOSE":        flow.StateClose,
		"CLOSE_WAIT":   flow.StateCloseWait,
		"LAST_ACK":     flow.StateLastAck,
		"LISTEN":       flow.StateListen,
		"CLOSING":      flow.StateClosing,
		"NEW_SYN_RECV": flow.StateNewSynRecv,
	}
	if len(named) != int(flow.StateMax)-1 {
		t.Errorf("flow has %d states, %d compared", flow.StateMax-1, len(named))
	}
	found := stateDefine.FindAllStringSubmatch(string(header), -1)
	if len(found) != len(named) {
		t.Errorf("kernel.h has %d states, flow has %d", len(found), len(named))
	}
	for _, f := range found {
		if got := fmt.Sprint(uint8(named[f[1]])); got != f[2] {
			t.Errorf("TCP_%s is %s, flow has %s", f[1], f[2], got)
		}
	}
}

// mapShape is what Go believes of a map.
type mapShape struct {
	key, value uintptr
	// entries is the size that Go counts on; 0 where loading sets it.
	entries uint32
}

func TestMapsHoldGoTypes(t *testing.T) {
	want := map[string]mapShape{
		"young_ring":     {4, unsafe.Sizeof(limboYoungSlot{}), 0},
		"young_tuples":   {4, unsafe.Sizeof(limboYoungTuple{}), 0},
		"young_cpus":     {4, unsafe.Sizeof(limboYoungCpu{}), 0},
		"old_generation": {8, unsafe.Sizeof(limboPromoted{}), 0},
		"marks":          {4, unsafe.Sizeof(limboMarks{}), 0},
		"values":         {4, unsafe.Sizeof(limboSockValues{}), valuesMax},
		"wanted":         {8, 1, wantedMax},
		"write_pairs":    {unsafe.Sizeof(limboWritePairKey{}), unsafe.Sizeof(limboWritePair{}), 0},
		"syn_drops":      {8, unsafe.Sizeof(limboSynDrop{}), 0},
		"syn_causes":     {4, unsafe.Sizeof(limboSynCause{}), valuesMax},

		"movers":  {4, unsafe.Sizeof(limboMoverRow{}), 0},
		"glances": {4, unsafe.Sizeof(limboGlance{}), 0},

		"user_stacks":     {8, unsafe.Sizeof(limboUserStack{}), 0},
		"socket_stacks":   {8, unsafe.Sizeof(limboSockStacks{}), 0},
		"stack_cpus":      {4, unsafe.Sizeof(limboStackCpu{}), 0},
		"leaky_processes": {4, 1, maxLeaky},
	}
	object := loadObject(t)
	for name, w := range want {
		m := object.Maps[name]
		if m == nil {
			t.Errorf("the object has no map %s", name)
			continue
		}
		if m.KeySize != uint32(w.key) || m.ValueSize != uint32(w.value) {
			t.Errorf("%s: key and value of %d and %d bytes, Go has %d and %d", name, m.KeySize, m.ValueSize, w.key, w.value)
		}
		if w.entries != 0 && m.MaxEntries != w.entries {
			t.Errorf("%s: %d entries, Go counts on %d", name, m.MaxEntries, w.entries)
		}
	}
	for name, m := range object.Maps {
		if _, compared := want[name]; !compared && m.Type != ebpf.RingBuf && !strings.HasPrefix(name, ".") {
			t.Errorf("map %s is not compared", name)
		}
	}
}

// Whoever adds a field that pads is told by the compiler; whoever adds one that
// Go should decode and does not is told here.
func TestSizes(t *testing.T) {
	tests := []struct {
		name string
		size int
		want int
	}{
		{"event", eventSize, 128},
		{"sock_values", valuesSize, 216},
		{"mover", moverSize, 16},
		{"glance", glanceSize, 64},
		{"holder", holderSize, 96},
		{"syn_cause", causeSize, 104},
		{"sock_stacks", sockStacksSize, 80},
		{"user_stack", userStackSize, 288},
		{"young_cpu", int(unsafe.Sizeof(limboYoungCpu{})), 64},
	}
	for _, tt := range tests {
		if tt.size != tt.want {
			t.Errorf("struct %s has %d bytes, the decoder was written for %d", tt.name, tt.size, tt.want)
		}
	}
}
