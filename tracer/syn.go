package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// callers is CALLERS of bpf/event.h.
	callers   = len(limboSynDrop{}.Callers)
	causeSize = int(unsafe.Sizeof(limboSynCause{}))
	// maxDrops is how many sockets' drops are remembered; of those dropped
	// longest ago the next retransmission tells again. 1 MiB of kernel memory.
	maxDrops = 8192

	// include/uapi/linux/neighbour.h
	nudIncomplete = 0x01
	nudFailed     = 0x20
)

// synSide is what tells why a SYN is not answered. All of it is optional: the
// rest works on a kernel that refuses it.
type synSide struct {
	dropped link.Link
	wanted  bool // as soon as its program is there
	causes  *ebpf.Memory
	buf     []byte
	sites   *dropSites
	asked   []*flow.Sock
	// refused is why the programs are not there, nil if they are.
	refused error
}

// SYNCauses returns nil if the causes of unanswered SYNs can be told here, and
// else why not.
func (t *Tracer) SYNCauses() error {
	if err := t.loadSYN(); err != nil {
		return err
	}
	t.need(&t.objs.LimboLocal, lateWait)
	t.need(&t.objs.LimboSynDropped, lateWait)
	return t.syn.refused
}

// synPrograms tell the causes of unanswered SYNs.
var synPrograms = []string{"limbo_local", "limbo_syn", "limbo_syn_dropped"}

// loadSYN gives a read-only Tracer the programs that it has not needed so far: half
// of what there is to verify, for sockets that few hosts have at a time.
func (t *Tracer) loadSYN() error {
	if !t.opts.ReadOnly || t.objs.LimboSyn != nil || t.syn.refused != nil {
		return nil
	}
	spec, err := loadSpec(t.opts, t.cpus)
	if err != nil {
		return err
	}
	return t.loadSYNFrom(spec)
}

func (t *Tracer) loadSYNFrom(spec *ebpf.CollectionSpec) error {
	var some struct {
		LimboLocal   *ebpf.Program  `ebpf:"limbo_local"`
		LimboSyn     *ebpf.Program  `ebpf:"limbo_syn"`
		SynCauses    *ebpf.Map      `ebpf:"syn_causes"`
		AskedAddress *ebpf.Variable `ebpf:"asked_address"`
	}
	if t.syn.refused = spec.LoadAndAssign(&some, nil); t.syn.refused != nil {
		return nil // the rest works without
	}
	if err := t.objs.SynCauses.Close(); err != nil {
		return fmt.Errorf("closing syn_causes: %w", err)
	}
	t.objs.LimboLocal, t.objs.LimboSyn = some.LimboLocal, some.LimboSyn
	t.objs.SynCauses, t.objs.AskedAddress = some.SynCauses, some.AskedAddress
	return t.prepareSYN()
}

// prepareSYN maps where limbo_syn writes.
func (t *Tracer) prepareSYN() error {
	if t.objs.LimboSyn == nil {
		return nil
	}
	var err error
	if t.syn.causes, err = t.objs.SynCauses.Memory(); err != nil {
		return fmt.Errorf("mapping syn_causes: %w", err)
	}
	t.syn.buf = make([]byte, valuesMax*causeSize)
	t.syn.sites = newDropSites(kallsymsPath)
	return nil
}

// WatchSYN begins or ends looking at packets that this host drops. It costs some
// 20 ns for each of them, so it is meant for while a connect is stuck. Where the
// program is still being loaded, it begins at the Follow after that.
func (t *Tracer) WatchSYN(on bool) error {
	if on {
		t.need(&t.objs.LimboSynDropped, 0)
	}
	t.syn.wanted = on && t.objs.LimboSynDropped == nil
	switch {
	case !on && t.syn.dropped != nil:
		err := t.syn.dropped.Close()
		t.syn.dropped = nil
		if err != nil {
			return fmt.Errorf("detaching kfree_skb: %w", err)
		}
	case on && t.syn.dropped == nil && t.objs.LimboSynDropped != nil:
		l, err := link.AttachTracing(link.TracingOptions{
			Program: t.objs.LimboSynDropped, AttachType: ebpf.AttachTraceRawTp,
		})
		if err != nil {
			return fmt.Errorf("attaching kfree_skb: %w", err)
		}
		t.syn.dropped = l
		t.syn.sites.prepare() // rather than when a finding is due
	}
	return nil
}

// Causes fills in the SYN of those sockets that are in SYN_SENT. Read does so too.
func (t *Tracer) Causes(socks []*flow.Sock) error {
	for len(socks) > 0 {
		n := min(len(socks), valuesMax)
		if err := t.readCauses(socks[:n]); err != nil {
			return err
		}
		socks = socks[n:]
	}
	return nil
}

func (t *Tracer) readCauses(socks []*flow.Sock) error {
	asked := t.syn.asked[:0]
	for _, s := range socks {
		if s.State == flow.StateSynSent && !s.Gone {
			asked = append(asked, s)
		}
	}
	t.syn.asked = asked
	if len(asked) == 0 {
		return nil
	}
	if err := t.loadSYN(); err != nil || t.syn.causes == nil {
		return err
	}
	buf := t.syn.buf[:len(asked)*causeSize]
	clear(buf)
	for i, s := range asked {
		binary.LittleEndian.PutUint64(buf[i*causeSize:], s.Addr)
		binary.LittleEndian.PutUint64(buf[i*causeSize+8:], s.Cookie)
	}
	if _, err := t.syn.causes.WriteAt(buf, 0); err != nil {
		return fmt.Errorf("writing syn_causes: %w", err)
	}
	if _, err := t.run(t.objs.LimboSyn, uint64(len(asked))); err != nil {
		return fmt.Errorf("running limbo_syn: %w", err)
	}
	if _, err := t.syn.causes.ReadAt(buf, 0); err != nil {
		return fmt.Errorf("reading syn_causes: %w", err)
	}
	for i, s := range asked {
		var c cause
		if err := c.decode(buf[i*causeSize:]); err != nil {
			return err
		}
		s.SYN = t.syn.sites.explain(&c)
	}
	return nil
}

// cause is a struct syn_cause.
type cause struct {
	known       bool
	neighbour   uint8
	retransmits uint8 // of the socket now
	dropped     bool
	droppedAt   uint8 // its retransmits when a SYN was dropped last
	site        site
}

// site is where in the kernel and on this host a SYN was dropped.
type site struct {
	// frames are who freed it, and who called that, the nearest first.
	frames        [1 + callers]uint64
	reason, netns uint32
}

func (c *cause) decode(b []byte) error {
	if len(b) < causeSize {
		return fmt.Errorf("decoding the cause of a SYN: %d bytes, want %d", len(b), causeSize)
	}
	le := binary.LittleEndian
	*c = cause{
		dropped:     le.Uint64(b[24:]) != 0,
		site:        site{reason: le.Uint32(b[80:]), netns: le.Uint32(b[84:])},
		droppedAt:   b[92],
		known:       b[96] != 0,
		retransmits: b[97],
		neighbour:   b[98],
	}
	for i := range c.site.frames {
		c.site.frames[i] = le.Uint64(b[32+8*i:])
	}
	return nil
}

// HasAddress reports whether the network namespace of a socket, as Holders told
// of it, has the address on one of its devices.
func (t *Tracer) HasAddress(sock flow.Key, addr netip.Addr) (bool, error) {
	if err := t.loadSYN(); err != nil {
		return false, err
	}
	t.need(&t.objs.LimboLocal, lateWait)
	if t.objs.LimboLocal == nil {
		return false, nil
	}
	if err := t.objs.AskedAddress.Set(addr.As16()); err != nil {
		return false, fmt.Errorf("setting asked_address: %w", err)
	}
	ret, err := t.run(t.objs.LimboLocal, sock.Addr)
	if err != nil {
		return false, fmt.Errorf("running limbo_local: %w", err)
	}
	return ret == 1, nil
}
