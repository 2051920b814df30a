package tracer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// netstat reads the calling thread's namespace: the kernel's own counters, a
// witness that counts by other means.
func netstat(t *testing.T) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	for _, name := range []string{"netstat", "snmp"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(b, []byte{'\n'})
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := bytes.Fields(lines[i]), bytes.Fields(lines[i+1])
			for j := 1; j < min(len(names), len(values)); j++ {
				// What is negative is none of ours.
				out[string(names[j])], _ = strconv.ParseUint(string(values[j]), 10, 64)
			}
		}
	}
	return out
}

// drop makes the kernel drop segments that arrive for a socket and whose byte at
// the given place from the TCP header's end is marked; mark < 0 drops all. The
// filter sees the TCP header first (net/ipv4/tcp_ipv4.c, tcp_filter).
func (s *socket) drop(mark int) {
	s.t.Helper()
	const (
		load    = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		loadX   = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
		ret     = unix.BPF_RET | unix.BPF_K
		jumpEq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		shift   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		toX     = unix.BPF_MISC | unix.BPF_TAX
		passAll = 0xffffffff
	)
	code := []unix.SockFilter{{Code: ret}}
	if mark >= 0 {
		code = []unix.SockFilter{
			{Code: load, K: 12}, // the header's length, in words and the upper half
			{Code: and, K: 0xf0},
			{Code: shift, K: 2},
			{Code: toX},
			{Code: loadX}, // the first byte of what it carries; none ends the filter with a drop
			{Code: jumpEq, K: uint32(mark), Jt: 1},
			{Code: ret, K: passAll},
			{Code: ret},
		}
	}
	p := unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		s.t.Fatalf("attaching a filter: %v", err)
	}
}

func (s *socket) undrop() {
	s.t.Helper()
	s.setInt(unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
}

// kinds counts the retransmissions seen of each kind.
func (s *seen) kinds() (n [flow.RetransmitKinds]uint64) {
	for _, e := range s.events {
		if e.Kind == flow.EventRetransmit {
			n[e.Retransmit]++
		}
	}
	return n
}

// resending is a connection on which segments will be lost, traced.
type resending struct {
	t              *testing.T
	tr             *Tracer
	seen           *seen
	client, server *socket
}

func newResending(t *testing.T) *resending {
	ns := newNamespace(t)
	r := &resending{t: t, tr: attached(t, Options{Trace: &Trace{RetransmitsOnly: true}}), seen: watching(ns)}
	l := listen(t, ipv4, 1)
	r.client = newSocket(t, ipv4)
	r.client.setInt(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// Two of the segments below do not fit into one, or they were sent again as
	// one (net/ipv4/tcp_output.c, tcp_retrans_try_collapse).
	r.client.setInt(unix.IPPROTO_TCP, unix.TCP_MAXSEG, 200)
	r.client.connect(l.local())
	r.server = l.accept()
	// A round trip each, so that the window is open and its time is known.
	for range 20 {
		r.send('.')
		r.server.read(100)
	}
	return r
}

// send writes a segment that begins with a mark.
func (r *resending) send(mark byte) { r.client.write(append([]byte{mark}, make([]byte, 99)...)) }

// until waits until so many retransmissions of a kind were seen.
func (r *resending) until(kind flow.RetransmitKind, least uint64) {
	r.t.Helper()
	eventually(r.t, "retransmissions of kind "+kind.String(), func() bool {
		r.seen.take(r.t, r.tr)
		return r.seen.kinds()[kind] >= least
	})
}

// agree compares with the kernel's own counters, which run ahead of the events
// for a moment.
func (r *resending) agree() {
	r.t.Helper()
	var got [flow.RetransmitKinds]uint64
	var want map[string]uint64
	eventually(r.t, "what the kernel counts itself", func() bool {
		want = netstat(r.t)
		r.seen.take(r.t, r.tr)
		got = r.seen.kinds()
		return got[flow.RetransmitSyn] == want["TCPSynRetrans"] &&
			got[flow.RetransmitFast] == want["TCPFastRetrans"] &&
			got[flow.RetransmitSyn]+got[flow.RetransmitRTO]+got[flow.RetransmitBackoff] == want["TCPTimeouts"] &&
			got[flow.RetransmitSlowStart] == want["TCPSlowStartRetrans"] &&
			got[flow.RetransmitTLP] == want["TCPLossProbes"] || r.t.Failed()
	})
	if got[flow.RetransmitNone]+got[flow.RetransmitOther]+got[flow.RetransmitProbe] != 0 {
		r.t.Errorf("kinds %v", got)
	}
}

// The last segment is lost: a probe, then a timeout, then more of them.
func TestTailLoss(t *testing.T) {
	r := newResending(t)
	r.server.drop(-1)
	r.send('x')
	r.until(flow.RetransmitBackoff, 2)
	r.agree()
	var order []flow.RetransmitKind
	for _, e := range r.seen.events {
		if e.Kind == flow.EventRetransmit {
			order = append(order, e.Retransmit)
		}
	}
	for i, want := range []flow.RetransmitKind{flow.RetransmitTLP, flow.RetransmitRTO, flow.RetransmitBackoff, flow.RetransmitBackoff} {
		if order[i] != want {
			t.Fatalf("retransmissions %v, want tlp, rto, and backoff from then on", order)
		}
	}
	s := find(t, r.tr, r.client.cookie)
	if got := s.Retransmitting(); got != flow.RetransmitBackoff {
		t.Errorf("the socket tells of %v after %d timeouts", got, s.Retransmits)
	}
}

// One segment of many is lost: the ACKs of the others tell.
func TestFastRetransmit(t *testing.T) {
	r := newResending(t)
	r.server.drop('x')
	r.send('x')
	for range 8 {
		r.send('.')
	}
	r.until(flow.RetransmitFast, 1)
	r.agree()
}

// Many are lost and then nothing any more: what follows the timeout goes at the
// pace of the ACKs.
func TestRetransmitAfterTimeout(t *testing.T) {
	r := newResending(t)
	r.server.drop(-1)
	for range 8 {
		r.send('x')
	}
	r.until(flow.RetransmitRTO, 1)
	r.server.undrop()
	r.until(flow.RetransmitSlowStart, 1)
	r.server.read(800)
	r.agree()
}

// The peer takes back its window while data is in flight. No kernel's own receiver
// does that, so its acknowledgement is forged.
func TestRetransmitIntoClosedWindow(t *testing.T) {
	r := newResending(t)
	r.server.drop(-1)
	r.send('x')
	r.send('x')
	s := find(t, r.tr, r.client.cookie)
	sendRaw(t, r.client.local().Addr(), acknowledgement(r.server.local(), r.client.local(), s.RcvNxt, s.SndUna+100))
	// On a slow machine there were timeouts before; from now on there are none.
	before := netstat(t)["TCPTimeouts"]
	r.until(flow.RetransmitProbe, 1)
	if n := r.seen.kinds(); uint64(n[flow.RetransmitRTO]+n[flow.RetransmitBackoff]) != uint64(before) {
		t.Errorf("kinds %v, want %d timeouts", n, before)
	}
	if n := netstat(t)["TCPTimeouts"]; n != before {
		t.Errorf("the kernel counts %d timeouts, %d before the window was closed", n, before)
	}
}

// acknowledgement is an IPv4 packet that closes the window.
func acknowledgement(from, to netip.AddrPort, seq, ack uint32) []byte {
	const ipSize, tcpSize = 20, 20
	be := binary.BigEndian
	p := make([]byte, ipSize+tcpSize)
	// Length, identification and checksum are the kernel's business (raw(7)).
	p[0], p[8], p[9] = 4<<4|ipSize/4, 64, unix.IPPROTO_TCP
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	tcp := p[ipSize:]
	be.PutUint16(tcp, from.Port())
	be.PutUint16(tcp[2:], to.Port())
	be.PutUint32(tcp[4:], seq)
	be.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = tcpSize/4<<4, 0x10 // ACK
	sum := uint32(unix.IPPROTO_TCP + tcpSize)
	for i := 12; i < len(p); i += 2 {
		sum += uint32(be.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	be.PutUint16(tcp[16:], ^uint16(sum))
	return p
}

func sendRaw(t *testing.T, to netip.Addr, packet []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatalf("opening a raw socket: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		t.Fatalf("sending a packet: %v", err)
	}
}

func TestSynRetransmit(t *testing.T) {
	ns := newNamespace(t)
	r := &resending{t: t, tr: attached(t, Options{Trace: &Trace{RetransmitsOnly: true}}), seen: watching(ns)}
	s := makeSynSent(t, ipv4)
	r.until(flow.RetransmitSyn, 1)
	r.agree()
	if got := find(t, r.tr, s.cookie); got.Retransmitting() != flow.RetransmitSyn {
		t.Errorf("the socket tells of %v", got.Retransmitting())
	}
}

// Without trace they are counted, all sockets together, and make no events.
func TestRetransmitsAreCounted(t *testing.T) {
	newNamespace(t)
	tr := attached(t, Options{Watch: stuckStates})
	client, server := pair(t, ipv6)
	client.write([]byte("x"))
	server.read(1)
	before := statsOf(t, tr).Retransmits
	server.drop(-1)
	client.write([]byte("x"))
	var own map[string]uint64
	eventually(t, "a probe and two timeouts", func() bool {
		own = netstat(t)
		return own["TCPLossProbes"] >= 1 && own["TCPTimeouts"] >= 2
	})
	after := statsOf(t, tr)
	grown := func(k flow.RetransmitKind) uint64 { return after.Retransmits[k] - before[k] }
	// Other namespaces may add to it.
	if n := grown(flow.RetransmitTLP); n < 1 {
		t.Errorf("%d tail loss probes counted", n)
	}
	if n := grown(flow.RetransmitRTO) + grown(flow.RetransmitBackoff); n < 2 {
		t.Errorf("%d timeouts counted, want 2 at least", n)
	}
	if err := tr.Events(func(e *flow.Event) {
		if e.Cookie == client.cookie {
			t.Errorf("an event of a healthy socket: %+v", e)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
