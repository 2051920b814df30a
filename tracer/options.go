package tracer

import (
	"math/bits"
	"net/netip"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Options say what the kernel side watches and how much memory it may take.
type Options struct {
	// Watch are the states whose entry is remembered; ignored under Trace.
	Watch flow.StateSet
	// Established makes ESTABLISHED sockets that keep retransmitting known by
	// events, and lets Read track those that are stalled; ignored under Trace.
	Established bool
	// RingBytes is the size of the ring buffer, a power of two and at least a
	// page; 0 means DefaultRingBytes.
	RingBytes uint32
	// MaxPromoted is the limit of the old generation; 0 means DefaultMaxPromoted.
	MaxPromoted uint32
	// YoungSlots is the size of the young generation a CPU, a power of two;
	// 0 means a size by the number of CPUs.
	YoungSlots uint32
	// Stacks says which user stacks are taken; ignored under Trace.
	Stacks flow.StackMode
	// ReadOnly leaves out the tracepoint programs: only Walk, Read and Holders
	// work, and Attach does nothing.
	ReadOnly bool
	// Trace, if set, makes every transition an event.
	Trace *Trace

	// stacksRate is how many stacks a second a CPU may take; 0 is defaultStacksRate. For
	// tests.
	stacksRate uint32
	// preemptible: as if the kernel preempted programs. For tests.
	preemptible bool
}

// Trace selects the transitions that become events; zero values select all. A
// transition to SYN_SENT passes the filters of the local port: it has none yet.
type Trace struct {
	// States is the left or the entered state; Old and New one of them.
	States, Old, New flow.StateSet
	// PID is the process that connects, shuts down or closes; transitions
	// that come out of the network have none.
	PID                       uint32
	Port, LocalPort, PeerPort uint16
	// Not both of these.
	IPv4Only, IPv6Only bool
	// Net holds the local or the peer address.
	Net netip.Prefix
	// Not both of these: no retransmissions, or nothing but those.
	NoRetransmits, RetransmitsOnly bool
}

// Filters reports whether some transitions are left out. Then the kernel side
// remembers when each state was entered (Event.Since); else the reader, who sees
// them all, has to.
func (tr *Trace) Filters() bool {
	all := Trace{NoRetransmits: tr.NoRetransmits}
	return *tr != all
}

const (
	// DefaultRingBytes holds 26,000 events, more than a tick promotes on any
	// host seen so far; a full ring costs a walk, not a socket.
	DefaultRingBytes = 4 << 20
	// TraceRingBytes holds half a second of 200,000 transitions a second.
	TraceRingBytes = 32 << 20
	// DefaultMaxPromoted costs 8 MiB of kernel memory. Sockets beyond it are
	// watched by reading them instead of by events.
	DefaultMaxPromoted = 65536

	// youngBudget bounds the young generation's memory on hosts with many
	// CPUs, youngMost and youngLeast a CPU's share of it. A slot takes 104 bytes.
	youngBudget = 16 << 20
	youngMost   = 16384
	youngLeast  = 512
)

func (o *Options) setDefaults(cpus int) {
	if o.RingBytes == 0 {
		o.RingBytes = DefaultRingBytes
		if o.Trace != nil {
			o.RingBytes = TraceRingBytes
		}
	}
	if o.MaxPromoted == 0 {
		o.MaxPromoted = DefaultMaxPromoted
	}
	if o.ReadOnly {
		o.RingBytes, o.MaxPromoted = 4096, 1
	}
	if o.Trace != nil || o.ReadOnly {
		o.Watch, o.Established, o.Stacks = 0, false, flow.StacksOff
		o.YoungSlots = 1
	}
	if o.YoungSlots == 0 {
		share := youngBudget / youngSlotSize / cpus
		o.YoungSlots = uint32(min(max(floorPowerOfTwo(share), youngLeast), youngMost))
	}
}

func floorPowerOfTwo(n int) int {
	if n < 1 {
		return 1
	}
	return 1 << (bits.Len(uint(n)) - 1)
}

// maxDrops is the size of the map of dropped SYNs.
func (o *Options) maxDrops() uint32 {
	if o.ReadOnly || o.Trace != nil {
		return 1
	}
	return min(maxDrops, o.MaxPromoted)
}
