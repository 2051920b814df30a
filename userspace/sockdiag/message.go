package sockdiag

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Sizes and places in the kernel's structs (include/uapi/linux/inet_diag.h):
// inet_diag_req_v2, inet_diag_msg, and inet_diag_sockid in both.
const (
	requestSize = 56
	requestID   = 8
	messageSize = 72
	messageID   = 4

	idSource    = 4
	idDest      = 20
	idInterface = 36
	idCookie    = 40
	anyCookie   = 0xffffffff
)

// The attributes that are asked for or come unasked (enum INET_DIAG_*).
const (
	attrInfo     = 2
	attrMemory   = 7
	attrShutdown = 8
	attrCgroup   = 21

	typeMask = 0x3fff // NLA_TYPE_MASK
)

// What idiag_timer says (net/ipv4/inet_diag.c, inet_sk_diag_fill).
const (
	timerRetransmit = 1
	timerKeepalive  = 2
	timerTimeWait   = 3
	timerProbe      = 4
)

// icsk_pending, as flow.Sock has it (include/net/inet_connection_sock.h).
const (
	pendingRetransmit = 1
	pendingProbe      = 3
)

// infoSize is up to which member struct tcp_info is read: tcpi_snd_wnd came last,
// with Linux 5.4, and nothing can be said of a closed window without it.
const infoSize = 232

// request asks for the sockets of one family in some states, or for one socket.
type request struct {
	family uint8
	states flow.StateSet
	// one, if set, is the socket that is meant, device the interface it is bound to.
	one    *flow.ID
	device uint32
}

// append adds the struct inet_diag_req_v2.
func (r *request) append(to []byte) []byte {
	var b [requestSize]byte
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	b[2] = 1<<(attrInfo-1) | 1<<(attrMemory-1)
	binary.NativeEndian.PutUint32(b[4:], uint32(r.states))
	id := b[requestID:]
	cookie := uint64(1<<64 - 1)
	if r.one != nil {
		binary.BigEndian.PutUint16(id, r.one.Local.Port())
		binary.BigEndian.PutUint16(id[2:], r.one.Peer.Port())
		copy(id[idSource:], r.one.Local.Addr().AsSlice())
		copy(id[idDest:], r.one.Peer.Addr().AsSlice())
		binary.NativeEndian.PutUint32(id[idInterface:], r.device)
		cookie = r.one.Cookie
	}
	// Two words, the low one first (net/core/sock_diag.c, sock_diag_save_cookie).
	binary.NativeEndian.PutUint32(id[idCookie:], uint32(cookie))
	binary.NativeEndian.PutUint32(id[idCookie+4:], uint32(cookie>>32))
	return append(to, b[:]...)
}

// answer is one socket as sock_diag tells of it.
type answer struct {
	sock flow.Sock
	// device is the interface that the socket is bound to, 0 for none.
	device uint32
}

// decode reads a struct inet_diag_msg and the attributes behind it.
func (a *answer) decode(b []byte, netns uint32) error {
	if len(b) < messageSize {
		return fmt.Errorf("decoding inet_diag_msg: %d bytes, want %d", len(b), messageSize)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	id := b[messageID:]
	*a = answer{device: binary.NativeEndian.Uint32(id[idInterface:])}
	s := &a.sock
	*s = flow.Sock{
		State: flow.State(b[1]), TimeWait: b[2] == timerTimeWait,
		UID: word(64), Inode: uint64(word(68)), HasSocket: word(68) != 0,
		LastReceive: -1, LastAck: -1, LastSend: -1, Waiting: -1, Expires: -1, Busy: -1,
	}
	s.Limits.Probing, s.Limits.FinTimeout, s.Limits.KeepaliveExpires = -1, -1, -1
	if s.State >= flow.StateMax {
		s.State = flow.StateUnknown
	}
	size := 16
	if b[0] == unix.AF_INET {
		size = 4
	}
	s.Local, s.Peer = addrPort(id[idSource:], size, id), addrPort(id[idDest:], size, id[2:])
	s.NetNS = netns
	s.Cookie = uint64(binary.NativeEndian.Uint32(id[idCookie:])) | uint64(binary.NativeEndian.Uint32(id[idCookie+4:]))<<32
	s.Addr = address(netns, s.Cookie)
	if err := a.attributes(b[messageSize:], word(60)); err != nil {
		return err
	}
	a.queues(word(56), word(60))
	a.timer(b[2], time.Duration(word(52))*time.Millisecond)
	return nil
}

func addrPort(addr []byte, size int, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr[:size])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// attributes reads the values behind the message.
func (a *answer) attributes(b []byte, queued uint32) error {
	for len(b) >= unix.SizeofNlAttr {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&typeMask
		if n < unix.SizeofNlAttr || n > len(b) {
			return fmt.Errorf("decoding inet_diag_msg: an attribute of %d bytes in %d", n, len(b))
		}
		if kind == attrInfo && n-unix.SizeofNlAttr < infoSize {
			return fmt.Errorf("decoding tcp_info: %d bytes, want %d; boot Linux 5.4 or newer", n-unix.SizeofNlAttr, infoSize)
		}
		a.attribute(kind, b[unix.SizeofNlAttr:n], queued)
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}

func (a *answer) attribute(kind uint16, v []byte, queued uint32) {
	s := &a.sock
	switch {
	case kind == attrInfo && !s.TimeWait:
		a.info(v, queued)
	case kind == attrMemory && len(v) >= 8:
		// SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_RCVBUF
		s.ReceiveMemory, s.ReceiveBuffer = binary.NativeEndian.Uint32(v), binary.NativeEndian.Uint32(v[4:])
	case kind == attrShutdown && len(v) >= 1:
		s.Shutdown = v[0]
	case kind == attrCgroup && len(v) >= 8:
		s.CgroupID = binary.NativeEndian.Uint64(v)
	}
}

// info reads a struct tcp_info (include/uapi/linux/tcp.h). Sequence numbers are not
// told; bytes are counted instead, from where the connection began. Differences
// between two readings are the same.
func (a *answer) info(v []byte, queued uint32) {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(v[at:]) }
	ago := func(at int) time.Duration { return time.Duration(word(at)) * time.Millisecond }
	s := &a.sock
	s.Retransmits, s.ProbesOut, s.Backoff = v[2], v[3], v[4]
	s.RTO, s.SRTT = time.Duration(word(8))*time.Microsecond, time.Duration(word(68))*time.Microsecond
	if rtt := word(148); rtt != 1<<32-1 {
		s.MinRTT = time.Duration(rtt) * time.Microsecond
	}
	s.SndUna = uint32(binary.NativeEndian.Uint64(v[120:]))
	s.RcvNxt = uint32(binary.NativeEndian.Uint64(v[128:]))
	s.WriteSeq = s.SndUna + queued
	s.SndNxt = s.WriteSeq - min(word(144), queued)
	s.SendWindow = word(228)
	if s.State == flow.StateSynSent {
		return // nothing came or went yet, and the stamps are 0
	}
	// The handshake stamps them all, so that before the first data they tell how
	// old the connection is.
	s.LastAck, s.LastReceive, s.LastSend = ago(56), ago(52), ago(44)
}

// queues places what waits. rcv_nxt and copied_seq, write_seq and snd_una are told
// by their differences (net/ipv4/tcp_diag.c, tcp_diag_get_info); of a listener the
// two are the accept queue and its limit.
func (a *answer) queues(receive, send uint32) {
	s := &a.sock
	if s.State == flow.StateListen {
		s.AcceptQueue, s.AcceptLimit, s.Role = receive, send, flow.RoleServer
		return
	}
	s.CopiedSeq = s.RcvNxt - receive
	// SHUTDOWN_MASK: tcp_close sets both directions; a connection that nobody
	// accepted has at most the one that the peer closed.
	const both = 3
	s.Dead = s.TimeWait || (!s.HasSocket && s.Shutdown == both)
	if s.State == flow.StateSynSent {
		s.Role = flow.RoleClient
	}
}

// timer says what the pending timer proves.
func (a *answer) timer(kind uint8, expires time.Duration) {
	s := &a.sock
	switch kind {
	case timerRetransmit:
		s.Pending, s.Expires = pendingRetransmit, expires
		retransmitting(s)
	case timerProbe:
		s.Pending, s.Expires = pendingProbe, expires
		probing(s)
	case timerKeepalive:
		s.Keepalive = true
	case timerTimeWait:
		s.Expires = expires
	}
}

// The kernel does not tell sockets' addresses to sock_diag. In their place stand
// the namespace and the cookie, which is unique on a host since Linux 5.10
// (net/core/sock_diag.c, __sock_gen_cookie); and both stay what they are when a
// minisocket takes a closed socket's place.
const (
	cookieBits = 35
	// netnsBase is below all inode numbers of namespaces, which lie within 29 bits
	// above it (include/uapi/linux/nsfs.h, NET_NS_INIT_INO; fs/proc/generic.c,
	// PROC_DYNAMIC_FIRST).
	netnsBase = 0xefffff00
)

func address(netns uint32, cookie uint64) uint64 {
	return uint64(netns-netnsBase)<<cookieBits | cookie&(1<<cookieBits-1)
}

// netnsOf is the namespace that an address is made of.
func netnsOf(addr uint64) uint32 { return uint32(addr>>cookieBits) + netnsBase }
