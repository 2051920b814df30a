package tracer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// table is a part of /proc/kallsyms; addresses are not quite in order there either.
const table = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81a00000 T nf_hook_slow
ffffffff81a00200 T nf_hook_slow_list
ffffffff81b00000 T __ip_local_out
ffffffff81b00400 T ip_output
ffffffff81b00300 t ip_finish_output
ffffffff81c00000 T dev_kfree_skb_any_reason
ffffffff81d00000 D some_data
ffffffffc0000000 t nft_do_chain	[nf_tables]
`

func tableFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSymbols(t *testing.T) {
	tests := []struct {
		addr uint64
		want string
	}{
		{0xffffffff81a000a2, "nf_hook_slow+0xa2"},
		{0xffffffff81a00200, "nf_hook_slow+0x200"}, // behind a call that never returns
		{0xffffffff81a00201, "nf_hook_slow_list+0x1"},
		{0xffffffff81b003ff, "ip_finish_output+0xff"},
		{0xffffffff81000001, "_stext+0x1"},
		{0xffffffffc00003e8, "nft_do_chain+0x3e8"},
		{0xffffffff81d00010, ""}, // no code for a megabyte
		{0xffffffffd0000000, ""},
		{0, ""},
		{1, ""},
	}
	var addrs []uint64
	for _, tt := range tests {
		addrs = append(addrs, tt.addr)
	}
	found := newSymbols(tableFile(t, table)).lookup(addrs...)
	for i, tt := range tests {
		if got := found[i].String(); got != tt.want {
			t.Errorf("%#x is in %q, want %q", tt.addr, got, tt.want)
		}
	}
}

func TestSymbolsThatAreNotThere(t *testing.T) {
	for name, path := range map[string]string{
		"no file": filepath.Join(t.TempDir(), "none"),
		"hidden":  tableFile(t, "0000000000000000 T _stext\n0000000000000000 T nf_hook_slow\n"),
		"odd":     tableFile(t, "\n\nffffffff81a00000\nffffffff81a00000 T\nxyzxyzxyzxyzxyzx T name\n"),
		"endless": tableFile(t, string(slices.Repeat([]byte("f"), 1<<17))),
	} {
		if s := newSymbols(path).lookup(0xffffffff81a000a2)[0]; s.String() != "" {
			t.Errorf("%s: found %v", name, s)
		}
	}
}

// A place is looked up once, however many namespaces and reasons it is met with.
func TestSymbolsAreRemembered(t *testing.T) {
	path := tableFile(t, table)
	s := newSymbols(path)
	s.lookup(0xffffffff81a000a2, 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := s.lookup(0xffffffff81b00310, 0xffffffff81a000a2); got[1].String() != "nf_hook_slow+0xa2" || got[0].name != "" {
		t.Errorf("found %v", got)
	}
	for i := range uint64(3 * symbolsMax) {
		s.lookup(i)
		if len(s.met) > symbolsMax {
			t.Fatalf("%d kept, at most %d allowed", len(s.met), symbolsMax)
		}
	}
}

func TestReasonNames(t *testing.T) {
	r := &dropReasons{
		core:       map[uint32]string{2: "NOT_SPECIFIED", 12: "NETFILTER_DROP"},
		subsystems: map[uint32]string{2: "OPENVSWITCH"},
	}
	tests := []struct {
		reason uint32
		want   string
	}{
		{0, ""},
		{2, ""},
		{12, "NETFILTER_DROP"},
		{99, "REASON_99"},
		{2<<16 | 5, "OPENVSWITCH:5"},
		{9<<16 | 1, "SUBSYS_9:1"},
	}
	for _, tt := range tests {
		if got := r.name(tt.reason); got != tt.want {
			t.Errorf("reason %#x is %q, want %q", tt.reason, got, tt.want)
		}
	}
	if got := new(dropReasons).name(12); got != "REASON_12" {
		t.Errorf("a kernel without names says %q", got)
	}
}

func TestHooks(t *testing.T) {
	tests := []struct {
		reason string
		frames []string
		want   string
	}{
		{"NETFILTER_DROP", []string{"nf_hook_slow", "__ip_local_out"}, "output"},
		{"NETFILTER_DROP", []string{"nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", "__ip_local_out", "ip_local_out"}, "output"},
		{"NETFILTER_DROP", []string{"nf_hook_slow", "ip6_xmit"}, "output"},
		{"NETFILTER_DROP", []string{"nf_hook_slow", "ip_output.part.0", "__ip_queue_xmit"}, "postrouting"},
		{"NETFILTER_DROP", []string{"nf_hook_slow", "__dev_queue_xmit", "ip_output"}, "egress"},
		{"NETFILTER_DROP", []string{"nf_hook_slow", "", ""}, ""},
		{"NETFILTER_DROP", []string{"ip_output"}, ""},
		{"", []string{"nf_hook_slow", "__ip_local_out"}, "output"},
		{"TC_EGRESS", nil, "tc_egress"},
		{"TC_INGRESS", nil, "tc_ingress"},
		{"BPF_CGROUP_EGRESS", []string{"__ip_finish_output"}, "cgroup_egress"},
		{"XDP", nil, "xdp"},
		{"QDISC_DROP", []string{"kfree_skb_list_reason"}, "qdisc"},
		{"FQ_FLOW_LIMIT", nil, "qdisc"},
		{"SECURITY_HOOK", []string{"nf_hook_slow", "__ip_local_out"}, ""},
	}
	for _, tt := range tests {
		var frames []symbol
		for _, name := range tt.frames {
			frames = append(frames, symbol{name: name})
		}
		if got := hookOf(tt.reason, frames); got != tt.want {
			t.Errorf("%s in %v: %q, want %q", tt.reason, tt.frames, got, tt.want)
		}
	}
}

// sitesWith are drop sites of a kernel with these reasons.
func sitesWith(t *testing.T, core map[uint32]string) *dropSites {
	t.Helper()
	d := newDropSites(tableFile(t, table))
	d.reasons = &dropReasons{core: core}
	return d
}

func at(reason uint32, frames ...uint64) site {
	s := site{reason: reason, netns: 7}
	copy(s.frames[:], frames)
	return s
}

func TestExplain(t *testing.T) {
	reasons := map[uint32]string{2: "NOT_SPECIFIED", 12: "NETFILTER_DROP"}
	output := at(12, 0xffffffff81a000a2, 0xffffffff81b00010)
	filtered := flow.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow+0xa2", Hook: "output", NetNS: 7}
	tests := []struct {
		name  string
		cause cause
		drop  *flow.Drop
		past  bool
		hop   bool
	}{
		{name: "another socket", cause: cause{dropped: true, site: output, neighbour: nudFailed}},
		{name: "nothing", cause: cause{known: true}},
		{name: "a drop", cause: cause{known: true, dropped: true, site: output, droppedAt: 2, retransmits: 2}, drop: &filtered},
		{name: "a drop before the last SYN", cause: cause{known: true, dropped: true, site: output, droppedAt: 2, retransmits: 3}, past: true},
		{name: "a driver's way to free", cause: cause{known: true, dropped: true, site: at(2, 0xffffffff81c00010)}},
		{
			name:  "no reason, but a place where nothing else is done",
			cause: cause{known: true, dropped: true, site: at(0, 0xffffffff81a000a2, 0xffffffff81b00010)},
			drop:  &flow.Drop{Location: "nf_hook_slow+0xa2", Hook: "output", NetNS: 7},
		},
		{name: "no reason and no place", cause: cause{known: true, dropped: true, site: at(0, 1)}},
		{
			name:  "a reason and no place",
			cause: cause{known: true, dropped: true, site: at(12, 1)},
			drop:  &flow.Drop{Reason: "NETFILTER_DROP", NetNS: 7},
		},
		{name: "incomplete", cause: cause{known: true, neighbour: nudIncomplete}, hop: true},
		{name: "failed", cause: cause{known: true, neighbour: nudFailed}, hop: true},
		{name: "reachable", cause: cause{known: true, neighbour: 0x02}},
		{name: "stale", cause: cause{known: true, neighbour: 0x04}},
		{name: "no neighbours here", cause: cause{known: true, neighbour: 0x40}},
	}
	for _, tt := range tests {
		d := sitesWith(t, reasons)
		for range 2 { // found out, and remembered
			got := d.explain(&tt.cause)
			if got.DropPast != tt.past || got.NextHopSilent != tt.hop || (got.Drop == nil) != (tt.drop == nil) {
				t.Fatalf("%s: %+v", tt.name, got)
			}
			if got.Drop != nil && *got.Drop != *tt.drop {
				t.Errorf("%s: %+v, want %+v", tt.name, *got.Drop, *tt.drop)
			}
		}
	}
}

func TestDropSitesAreBounded(t *testing.T) {
	d := sitesWith(t, nil)
	d.symbols = newSymbols(filepath.Join(t.TempDir(), "none"))
	for i := range uint64(3 * sitesMax) {
		d.of(at(12, i))
		if len(d.known) > sitesMax {
			t.Fatalf("%d sites kept, at most %d allowed", len(d.known), sitesMax)
		}
	}
}

func FuzzCause(f *testing.F) {
	for _, b := range samples(causeSize) {
		f.Add(b)
		f.Add(b[:causeSize-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got cause
		err := got.decode(b)
		if short := len(b) < causeSize; short != (err != nil) {
			t.Fatalf("%d bytes, %d needed: error %v", len(b), causeSize, err)
		}
		if err != nil {
			return
		}
		r := reference[limboSynCause](t, b)
		want := cause{
			known: r.Known != 0, neighbour: r.Neighbour, retransmits: r.Retransmits,
			dropped: r.Drop.TimeNs != 0, droppedAt: r.Drop.Retransmits,
			site: site{reason: r.Drop.Reason, netns: r.Drop.Netns},
		}
		want.site.frames[0] = r.Drop.Location
		copy(want.site.frames[1:], r.Drop.Callers[:])
		if got != want {
			t.Errorf("decoded\n%+v, want\n%+v", got, want)
		}
	})
}
