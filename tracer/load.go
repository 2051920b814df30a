// Package tracer is the kernel side seen from Go: it loads and attaches the
// programs, ages the young generation, reads events, sockets and holders, and
// gives plain values of package flow. It is the only package that knows
// cilium/ebpf, and it decides nothing.
//
// A Tracer is used by one goroutine; none of its methods may run beside another.
package tracer

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const youngSlotSize = int(unsafe.Sizeof(limboYoungSlot{}) + unsafe.Sizeof(limboYoungTuple{}))

// Tracer is the loaded kernel side.
type Tracer struct {
	opts Options
	cpus int
	// preemptible: the kernel may preempt programs in their middle.
	preemptible bool
	objs        limboObjects
	links       []link.Link
	holders     *link.Iter
	reader      *ringbuf.Reader
	record      ringbuf.Record
	decode      *decoder

	youngCPUs *ebpf.Memory
	youngBuf  []byte
	heads     []uint64 // of each CPU's first ring at the last Age
	agedAt    time.Duration
	ringPace  time.Duration
	values    *ebpf.Memory
	valuesBuf []byte
	event     flow.Event
	// closed: Close was called.
	closed  bool
	walkBuf flow.Sock
	queues  queues

	syn    synSide
	stacks stackSide
	movers moverSide

	netns    map[uint32]string // inode → path
	second   second
	late     lateSide
	hashinfo uint64
	buckets  uint32
	walkNext uint32
	// facing: the walk is for other ends, and adds nothing up.
	facing bool

	listeners   uint64
	listenersAt time.Duration
	ringFill    uint64
}

// Load verifies the programs, but for those that can wait (LoadLate), and makes the
// maps; nothing is attached yet.
// Errors wrap *ebpf.VerifierError where the kernel refused a program.
func Load(opts Options) (*Tracer, error) {
	// From 5.11 on maps are not charged to RLIMIT_MEMLOCK; where raising the
	// limit is refused, loading tells whether it was needed.
	_ = rlimit.RemoveMemlock()
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting CPUs: %w", err)
	}
	opts.setDefaults(cpus)
	spec, err := loadSpec(opts, cpus)
	if err != nil {
		return nil, err
	}
	t := &Tracer{opts: opts, cpus: cpus}
	if err := t.assignAll(spec); err != nil {
		return nil, fmt.Errorf("loading BPF programs: %w", err)
	}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// loadSpec returns the collection with the knobs set for opts.
func loadSpec(opts Options, cpus int) (*ebpf.CollectionSpec, error) {
	spec, err := loadLimbo()
	if err != nil {
		return nil, fmt.Errorf("parsing BPF object: %w", err)
	}
	spec.Maps["events"].MaxEntries = opts.RingBytes
	spec.Maps["old_generation"].MaxEntries = opts.MaxPromoted
	spec.Maps["syn_drops"].MaxEntries = opts.maxDrops()
	spec.Maps["young_ring"].MaxEntries = (opts.YoungSlots + nestedSlots) * uint32(cpus)
	spec.Maps["young_tuples"].MaxEntries = spec.Maps["young_ring"].MaxEntries
	spec.Maps["young_cpus"].MaxEntries = 2 * uint32(cpus)
	if opts.Trace != nil {
		spec.Maps["write_pairs"].MaxEntries = 1
	}
	spec.Maps["marks"].MaxEntries = uint32(cpus)
	opts.sizeStacks(spec, cpus)
	moverMask := opts.watchMovers(spec)
	knobs := map[string]any{
		"watch_states": uint32(opts.Watch),
		"cpus":         uint32(cpus),

		"watch_established": opts.Established,
		"mover_mask":        moverMask,
		"stacks_wanted":     opts.Stacks != flow.StacksOff,
		"stacks_always":     opts.Stacks == flow.StacksAlways,
	}
	if opts.Trace != nil {
		opts.Trace.knobs(knobs, opts.RingBytes)
	}
	for name, value := range knobs {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return spec, nil
}

func (tr *Trace) knobs(knobs map[string]any, ringBytes uint32) {
	knobs["trace_all"] = true
	knobs["wake_bytes"] = ringBytes / 8
	knobs["trace_ages"] = tr.Filters()
	knobs["trace_states"] = uint32(tr.States)
	knobs["trace_pid"] = tr.PID
	knobs["trace_old_states"] = uint32(tr.Old)
	knobs["trace_new_states"] = uint32(tr.New)
	knobs["trace_port"] = tr.Port
	knobs["trace_local_port"] = tr.LocalPort
	knobs["trace_peer_port"] = tr.PeerPort
	const inet, inet6 = 2, 10
	switch {
	case tr.IPv4Only:
		knobs["trace_family"] = uint16(inet)
	case tr.IPv6Only:
		knobs["trace_family"] = uint16(inet6)
	}
	if tr.Net.IsValid() {
		addr, mask := netAndMask(tr)
		knobs["trace_net"], knobs["trace_mask"] = addr, mask
	}
}

func netAndMask(tr *Trace) (addr, mask [16]uint8) {
	ones := tr.Net.Bits()
	if tr.Net.Addr().Is4() {
		ones += 96
	}
	addr = tr.Net.Masked().Addr().As16()
	for i := range ones {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return addr, mask
}

// prepare maps the shared memory and learns what the kernel does not announce.
func (t *Tracer) prepare() error {
	var err error
	if t.youngCPUs, err = t.objs.YoungCpus.Memory(); err != nil {
		return fmt.Errorf("mapping young_cpus: %w", err)
	}
	if t.values, err = t.objs.Values.Memory(); err != nil {
		return fmt.Errorf("mapping values: %w", err)
	}
	t.youngBuf = make([]byte, 2*t.cpus*ringStride)
	t.heads = make([]uint64, t.cpus)
	if err := t.initRings(); err != nil {
		return err
	}
	t.valuesBuf = make([]byte, valuesMax*valuesSize)
	if t.reader, err = ringbuf.NewReader(t.objs.Events); err != nil {
		return fmt.Errorf("opening ring buffer: %w", err)
	}
	if err := errors.Join(t.prepareSYN(), t.prepareStacks(), t.prepareMovers()); err != nil {
		return err
	}
	return t.learn()
}

// Attach starts the tracepoint programs. From its return on no entry into a
// watched state is missed; what existed before is found by Walk.
func (t *Tracer) Attach() error {
	if t.opts.ReadOnly {
		return nil
	}
	if t.opts.Trace == nil || !t.opts.Trace.RetransmitsOnly {
		if err := t.attach("inet_sock_set_state", t.objs.LimboSetState); err != nil {
			return err
		}
		if t.preemptible {
			t.loadFirst() // limbo_set_state_nested
		}
		if t.objs.LimboSetStateNested != nil {
			if err := t.addSecond(); err != nil {
				return err
			}
		}
	}
	if t.opts.Trace == nil || !t.opts.Trace.NoRetransmits {
		if err := t.attach("tcp_retransmit_skb", t.objs.LimboRetransmit); err != nil {
			return err
		}
	}
	return t.attachStacks()
}

func (t *Tracer) attach(name string, prog *ebpf.Program) error {
	l, err := attachTracepoint(name, prog)
	if err != nil {
		return err
	}
	t.links = append(t.links, l)
	return nil
}

func attachTracepoint(name string, prog *ebpf.Program) (link.Link, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: prog, AttachType: ebpf.AttachTraceRawTp})
	if err != nil {
		return nil, fmt.Errorf("attaching %s: %w", name, err)
	}
	return l, nil
}

// Detach stops the tracepoint programs; what they sent can still be read.
func (t *Tracer) Detach() error {
	errs := []error{t.second.close(), t.dropEOF(), t.stacks.accept.end()}
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	return errors.Join(errs...)
}

// Close detaches and frees everything, in the order links, reader, objects: no
// program runs any more when what it writes to goes away. A program that is being
// verified is waited for.
func (t *Tracer) Close() error {
	t.closed = true
	errs := []error{t.Detach(), t.WatchSYN(false), t.closeLate()}
	if t.holders != nil {
		errs = append(errs, t.holders.Close())
	}
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	return errors.Join(append(errs, t.objs.Close())...)
}
