package tracer

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// loopbackIndex is the number of every namespace's loopback device.
const loopbackIndex = 1

// closedQueue gives the loopback device a queue that has room for nothing, which
// any kernel can: every packet is dropped on its way out.
func closedQueue(t *testing.T) {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: loopbackIndex, Handle: 1 << 16, Parent: netlink.HANDLE_ROOT})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")))
	limit := make([]byte, 4) // struct tc_fifo_qopt
	req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, limit))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatalf("adding a pfifo: %v", err)
	}
}

func openQueue(t *testing.T) {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_DELQDISC, unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: loopbackIndex, Parent: netlink.HANDLE_ROOT})
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatalf("removing the pfifo: %v", err)
	}
}

func requireCauses(t *testing.T, tr *Tracer) {
	t.Helper()
	if err := tr.SYNCauses(); err != nil {
		t.Fatalf("the causes of SYNs cannot be told: %+v", verifierLog(err))
	}
}

// syn reads what is known of a connect.
func syn(t *testing.T, tr *Tracer, id flow.ID) flow.SYN {
	t.Helper()
	s := &flow.Sock{ID: id}
	if err := tr.Read([]*flow.Sock{s}, false); err != nil {
		t.Fatal(err)
	}
	if s.Gone {
		t.Fatal("the connect is gone")
	}
	return s.SYN
}

// The first retransmission comes a second after the SYN, those after a drop by a
// queue each half second.
func TestDroppedSYN(t *testing.T) {
	ns := newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	requireCauses(t, tr)
	for _, f := range families {
		dropped(t, tr, ns, f)
	}
}

// dropped is no subtest, because those are not in the namespace.
func dropped(t *testing.T, tr *Tracer, ns *namespace, f family) {
	t.Helper()
	to := silent(t, f)
	closedQueue(t)
	s := begin(t, f, to)
	defer s.close()
	id := find(t, tr, s.cookie).ID
	if err := tr.WatchSYN(true); err != nil {
		t.Fatal(err)
	}
	var drop flow.Drop
	eventually(t, "a drop", func() bool {
		got := syn(t, tr, id)
		if got.Drop != nil {
			drop = *got.Drop
		}
		return got.Drop != nil
	})
	t.Logf("%s: dropped: %+v", f.name, drop)
	if drop.NetNS != ns.inode {
		t.Errorf("%s: in namespace %d, want %d", f.name, drop.NetNS, ns.inode)
	}
	if drop.Location == "" {
		t.Errorf("%s: no location, although root may read /proc/kallsyms", f.name)
	}
	if drop.Reason != "" && (drop.Reason != "QDISC_DROP" && drop.Reason != "QDISC_OVERLIMIT" || drop.Hook != "qdisc") {
		t.Errorf("%s: reason %s, hook %s", f.name, drop.Reason, drop.Hook)
	}
	// It leaves now, and is not answered.
	openQueue(t)
	eventually(t, "a SYN that is not dropped", func() bool {
		got := syn(t, tr, id)
		return got.Drop == nil && got.DropPast
	})
	if err := tr.WatchSYN(false); err != nil {
		t.Fatal(err)
	}
}

// What nobody drops is not told as dropped, while others' is.
func TestUndroppedSYN(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{Watch: stuckStates})
	requireCauses(t, tr)
	if err := tr.WatchSYN(true); err != nil {
		t.Fatal(err)
	}
	s := begin(t, ipv4, silent(t, ipv4))
	id := find(t, tr, s.cookie).ID
	eventually(t, "a retransmission", func() bool { return s.info().Total_retrans >= 1 })
	if got := syn(t, tr, id); got != (flow.SYN{}) {
		t.Errorf("a SYN that a full queue swallows: %+v", got)
	}
	if stats, err := tr.Stats(); err != nil || stats.SYNDrops != 0 {
		t.Errorf("%d drops found no room (%v)", stats.SYNDrops, err)
	}
}

func TestWatchSYNTwice(t *testing.T) {
	tr := load(t, Options{Watch: stuckStates})
	for _, on := range []bool{false, true, true, false, false, true} {
		if err := tr.WatchSYN(on); err != nil {
			t.Fatalf("%v: %v", on, err)
		}
	}
	// Closing the Tracer ends it.
}

// Where the kernel refuses what tells causes, all else works.
func TestCausesAreOptional(t *testing.T) {
	ns := newNamespace(t)
	for name, opts := range map[string]Options{"run": {Watch: stuckStates}, "list": {ReadOnly: true}} {
		opts.setDefaults(1)
		cpus, err := ebpf.PossibleCPU()
		if err != nil {
			t.Fatal(err)
		}
		spec, err := loadSpec(opts, cpus)
		if err != nil {
			t.Fatal(err)
		}
		// The verifier wants a result before the end.
		spec.Programs["limbo_syn"].Instructions = asm.Instructions{asm.Return()}
		tr := &Tracer{opts: opts, cpus: cpus}
		if err := tr.assignAll(spec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		if err := tr.prepare(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if opts.ReadOnly { // loads them when they are needed
			if err := tr.loadSYNFrom(spec); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if tr.SYNCauses() == nil {
			t.Errorf("%s: nothing is said of a program that was refused", name)
		}
		s := begin(t, ipv4, silent(t, ipv4))
		id := find(t, tr, s.cookie).ID
		if err := tr.WatchSYN(true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if has, err := tr.HasAddress(id.Key, ipv4.addr); err != nil || has {
			t.Errorf("%s: an address that was not looked for: %v %v", name, has, err)
		}
		if got := syn(t, tr, id); got != (flow.SYN{}) || id.NetNS != ns.inode {
			t.Errorf("%s: %+v of a connect in namespace %d", name, got, id.NetNS)
		}
	}
}

// The readers of kernel pointers take any: an address may be freed at any time.
func TestCausesOfNothing(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	requireCauses(t, tr)
	random := binary.LittleEndian.Uint64([]byte{1, 2, 3, 4, 5, 6, 0xff, 0xff})
	for _, addr := range []uint64{0, 1, 1 << 63, random, 1<<64 - 1} {
		s := &flow.Sock{ID: flow.ID{Key: flow.Key{Addr: addr}}, State: flow.StateSynSent}
		if err := tr.Causes([]*flow.Sock{s}); err != nil || s.SYN != (flow.SYN{}) {
			t.Errorf("%#x: %+v %v", addr, s.SYN, err)
		}
		if has, err := tr.HasAddress(s.Key, netip.MustParseAddr("127.0.0.1")); err != nil || has {
			t.Errorf("%#x has 127.0.0.1: %v", addr, err)
		}
	}
}
