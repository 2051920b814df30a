package tracer

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// The sizes that bpf/event.h gives; decode_test.go holds the decoders against
// the generated types.
const (
	eventSize  = int(unsafe.Sizeof(limboEvent{}))
	valuesSize = int(unsafe.Sizeof(limboSockValues{}))
	holderSize = int(unsafe.Sizeof(limboHolder{}))

	valuesBusy   = int(unsafe.Offsetof(limboSockValues{}.BusyJiffies))
	valuesMemory = int(unsafe.Offsetof(limboSockValues{}.ReceiveMemory))
	valuesBuffer = int(unsafe.Offsetof(limboSockValues{}.ReceiveBuffer))
	valuesMinRTT = int(unsafe.Offsetof(limboSockValues{}.MinRttUs))
	valuesHash   = int(unsafe.Offsetof(limboSockValues{}.Hash))
)

// decoder turns the kernel's bytes into flow types, field by field: a tenth of
// the cost of encoding/binary's reflection, and no allocation.
type decoder struct {
	// hz is the kernel's tick rate, jiffies per second.
	hz uint32
	// comms interns thread names: few distinct ones, seen often.
	comms map[[16]byte]string
}

// commsMax bounds the intern table; a host that names threads at random starts
// it over rather than growing it.
const commsMax = 4096

func newDecoder(hz uint32) *decoder {
	return &decoder{hz: hz, comms: make(map[[16]byte]string)}
}

func (d *decoder) comm(b []byte) string {
	raw := [16]byte(b)
	if s, ok := d.comms[raw]; ok {
		return s
	}
	if len(d.comms) >= commsMax {
		clear(d.comms)
	}
	n := 0
	for n < len(raw) && raw[n] != 0 {
		n++
	}
	s := string(raw[:n])
	d.comms[raw] = s
	return s
}

// task decodes a struct task_id.
func (d *decoder) task(b []byte) flow.Task {
	le := binary.LittleEndian
	t := flow.Task{PID: le.Uint32(b), TID: le.Uint32(b[4:]), UID: le.Uint32(b[8:])}
	if t.PID == 0 {
		return flow.Task{}
	}
	t.Comm = d.comm(b[16:32])
	return t
}

func addrPort(addr []byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(addr)).Unmap(), port)
}

// event decodes a struct event.
func (d *decoder) event(b []byte, e *flow.Event) error {
	if len(b) < eventSize {
		return fmt.Errorf("decoding event: %d bytes, want %d", len(b), eventSize)
	}
	le := binary.LittleEndian
	*e = flow.Event{
		Time:      time.Duration(le.Uint64(b)),
		Since:     time.Duration(le.Uint64(b[8:])),
		Successor: le.Uint64(b[32:]),
		Task:      d.task(b[72:]),
		Err:       int32(le.Uint32(b[108:])),
		SoftErr:   int32(le.Uint32(b[112:])),
		Kind:      flow.EventKind(b[120]),
		Old:       flow.State(b[121]),
		New:       flow.State(b[122]),
		TimeWait:  b[123]&uint8(limboSockFlagSOCK_TIMEWAIT) != 0,
		Orphan:    b[123]&uint8(limboSockFlagSOCK_ORPHAN) != 0,
		Untracked: b[123]&uint8(limboSockFlagSOCK_UNTRACKED) != 0,

		Retransmits: b[124],
		Retransmit:  flow.RetransmitKind(b[125]),
	}
	e.Addr = le.Uint64(b[16:])
	e.Cookie = le.Uint64(b[24:])
	e.NetNS = le.Uint32(b[104:])
	// A promotion carries no addresses; a connection always has a peer port.
	if peer := le.Uint16(b[118:]); peer != 0 || e.Kind != flow.EventPromoted {
		e.Local = addrPort(b[40:56], le.Uint16(b[116:]))
		e.Peer = addrPort(b[56:72], peer)
	}
	return nil
}

// never is NEVER of bpf/event.h.
const never = math.MaxUint32

// jiffies turns a difference of the kernel's 32-bit stamps into a time, -1 if
// there is none.
func (d *decoder) jiffies(n uint32) time.Duration {
	if n == never {
		return -1
	}
	return time.Duration(n) * time.Second / time.Duration(d.hz)
}

// values decodes a struct sock_values.
func (d *decoder) values(b []byte, s *flow.Sock) error {
	if len(b) < valuesSize {
		return fmt.Errorf("decoding socket: %d bytes, want %d", len(b), valuesSize)
	}
	le := binary.LittleEndian
	flags := limboSockFlag(b[77])
	*s = flow.Sock{
		Inode:       le.Uint64(b[24:]),
		UID:         le.Uint32(b[68:]),
		State:       flow.State(b[76]),
		Gone:        flags&limboSockFlagSOCK_GONE != 0,
		TimeWait:    flags&limboSockFlagSOCK_TIMEWAIT != 0,
		Dead:        flags&limboSockFlagSOCK_ORPHAN != 0,
		HasSocket:   flags&limboSockFlagSOCK_HAS_SOCKET != 0,
		Keepalive:   flags&limboSockFlagSOCK_KEEPALIVE != 0,
		Retransmits: b[78],
		Backoff:     b[79],
		ProbesOut:   b[80],
		Pending:     b[81],
		Shutdown:    b[82],
		Err:         int32(le.Uint32(b[84:])),
		SoftErr:     int32(le.Uint32(b[88:])),
		SndUna:      le.Uint32(b[92:]),
		SndNxt:      le.Uint32(b[96:]),
		WriteSeq:    le.Uint32(b[100:]),
		RcvNxt:      le.Uint32(b[104:]),
		CopiedSeq:   le.Uint32(b[108:]),
		SendWindow:  le.Uint32(b[112:]),
		SRTT:        time.Duration(le.Uint32(b[116:])) * time.Microsecond,
		RTO:         d.jiffies(le.Uint32(b[120:])),
		LastReceive: d.jiffies(le.Uint32(b[124:])),
		LastAck:     d.jiffies(le.Uint32(b[128:])),
		LastSend:    d.jiffies(le.Uint32(b[132:])),
		Expires:     -1,
		AcceptQueue: le.Uint32(b[140:]),
		AcceptLimit: le.Uint32(b[144:]),
	}
	s.Addr = le.Uint64(b)
	s.Cookie = le.Uint64(b[8:])
	s.CgroupID = le.Uint64(b[16:])
	s.NetNS = le.Uint32(b[64:])
	s.Local = addrPort(b[32:48], le.Uint16(b[72:]))
	s.Peer = addrPort(b[48:64], le.Uint16(b[74:]))
	s.Waiting = time.Duration(int32(le.Uint32(b[148:]))) * time.Millisecond
	s.Untracked = flags&limboSockFlagSOCK_UNTRACKED != 0
	if flags&limboSockFlagSOCK_CLIENT != 0 {
		s.Role = flow.RoleClient
	}
	if flags&limboSockFlagSOCK_TIMER != 0 {
		s.Expires = d.until(b[136:])
	}
	s.Busy = d.jiffies(le.Uint32(b[valuesBusy:]))
	s.ReceiveMemory, s.ReceiveBuffer = le.Uint32(b[valuesMemory:]), le.Uint32(b[valuesBuffer:])
	s.Hash = le.Uint32(b[valuesHash:])
	s.MinRTT = minRTT(le.Uint32(b[valuesMinRTT:]))
	d.limits(b, &s.Limits)
	return nil
}

// minRTT decodes a number of microseconds that is ~0 until the first measurement
// (net/ipv4/tcp.c, tcp_init_sock).
func minRTT(us uint32) time.Duration {
	if us == math.MaxUint32 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// until decodes the end of a timer. One that is due but has not run yet is in
// the past.
func (d *decoder) until(b []byte) time.Duration {
	return d.jiffies(uint32(max(0, int32(binary.LittleEndian.Uint32(b)))))
}

// orNever decodes a number of jiffies that is negative for "none".
func (d *decoder) orNever(b []byte) time.Duration {
	n := int32(binary.LittleEndian.Uint32(b))
	if n < 0 {
		return -1
	}
	return d.jiffies(uint32(n))
}

// limits decodes what a struct sock_values says of when the kernel gives up.
func (d *decoder) limits(b []byte, l *flow.Limits) {
	le := binary.LittleEndian
	*l = flow.Limits{
		HZ:                d.hz,
		Jiffies:           le.Uint32(b[152:]),
		RTOMax:            d.jiffies(le.Uint32(b[156:])),
		UserTimeout:       time.Duration(le.Uint32(b[160:])) * time.Millisecond,
		KeepaliveTime:     d.jiffies(le.Uint32(b[164:])),
		KeepaliveInterval: d.jiffies(le.Uint32(b[168:])),
		KeepaliveExpires:  -1,
		Probing:           d.orNever(b[176:]),
		FinTimeout:        d.orNever(b[180:]),
		KeepaliveProbes:   b[184],
		SynRetries:        b[185],
		SynLinearTimeouts: b[186],
		Retries2:          b[187],
		OrphanRetries:     b[188],
	}
	if b[83] != 0 {
		l.KeepaliveExpires = d.until(b[172:])
	}
}

// holder decodes a struct holder.
func (d *decoder) holder(b []byte, h *flow.Held) error {
	if len(b) < holderSize {
		return fmt.Errorf("decoding holder: %d bytes, want %d", len(b), holderSize)
	}
	le := binary.LittleEndian
	*h = flow.Held{
		Key:         flow.Key{Addr: le.Uint64(b), Cookie: le.Uint64(b[8:])},
		Holder:      flow.Holder{Task: d.task(b[24:]), FD: le.Uint32(b[56:])},
		NetNS:       le.Uint32(b[60:]),
		AcceptQueue: le.Uint32(b[64:]),
		AcceptLimit: le.Uint32(b[68:]),
		Local:       addrPort(b[72:88], le.Uint16(b[88:])),
		State:       flow.State(b[90]),
	}
	h.StartBoot = time.Duration(le.Uint64(b[16:]))
	return nil
}
