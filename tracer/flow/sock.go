package flow

import (
	"net/netip"
	"time"
)

// Key identifies one life of one socket. The address of a struct sock is
// recycled by the slab, the cookie is not (net/core/sock_diag.c,
// sock_gen_cookie); together they also find the socket again.
type Key struct {
	// Addr is the kernel address of the struct sock or inet_timewait_sock.
	Addr uint64
	// Cookie is 0 where the kernel has not made one (5.10 and 5.11, until
	// somebody asks).
	Cookie uint64
}

// ID is what names a connection: addresses, namespace and key.
type ID struct {
	Key
	// Local and Peer are unmapped: an IPv4-mapped IPv6 address is IPv4.
	Local, Peer netip.AddrPort
	// NetNS is the inode number of the socket's network namespace.
	NetNS uint32
	// CgroupID is the cgroup v2 id the socket was made in, 0 if not known.
	CgroupID uint64
}

// Task is a thread at the moment it was seen in the kernel.
type Task struct {
	// PID is the process (thread group) id and TID the thread id, both in
	// the agent's pid namespace. 0 means not known.
	PID, TID uint32
	UID      uint32
	// Comm is the thread's name, at most 15 bytes, not sanitised.
	Comm string
	// StartBoot is when the process started, since boot (CLOCK_BOOTTIME); it
	// tells a reused pid from the one that was meant. 0 if not known.
	StartBoot time.Duration
}

// Known reports whether the task was captured at all.
func (t Task) Known() bool { return t.PID != 0 }

// Holder is one file descriptor that refers to a socket.
type Holder struct {
	Task
	FD uint32
}

// Held says that a process holds a socket, as the walk over all descriptors
// found it.
type Held struct {
	Key
	Holder
	State State
	Local netip.AddrPort
	NetNS uint32
	// AcceptQueue and AcceptLimit are meant for listeners.
	AcceptQueue, AcceptLimit uint32
}

// Role is which side opened the connection.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota
	RoleClient
	RoleServer
)

// String returns "client", "server" or "".
func (r Role) String() string {
	switch r {
	case RoleClient:
		return "client"
	case RoleServer:
		return "server"
	case RoleUnknown:
	}
	return ""
}

// Sock is everything read from a live socket at one moment. Durations are
// negative where the kernel does not know (never happened).
type Sock struct {
	ID
	State State
	// Gone is set where the socket that was asked for is not there any more;
	// then only the ID has a meaning.
	Gone bool
	// Untracked is set where the kernel side has no room to send its events.
	Untracked bool
	// TimeWait marks a timewait minisocket: only FIN_WAIT2 and TIME_WAIT, few
	// values, no holder (include/net/inet_timewait_sock.h).
	TimeWait bool
	// Dead is SOCK_DEAD: the program closed it, the kernel keeps it (orphan).
	Dead bool
	// HasSocket is false for orphans and for connections nobody accepted yet.
	HasSocket bool
	Inode     uint64
	UID       uint32
	Role      Role

	// Hash is the kernel's, of namespace, addresses and ports; 0 for minisockets. Where
	// nothing but the address and a Hash is known, Read takes it for the identity.
	Hash uint32

	// Err and SoftErr are sk_err and sk_err_soft, errno values.
	Err, SoftErr int32
	Shutdown     uint8

	Retransmits uint8 // icsk_retransmits: RTOs in a row
	Backoff     uint8 // icsk_backoff
	ProbesOut   uint8 // icsk_probes_out: unanswered zero-window or keepalive probes
	Pending     uint8 // icsk_pending: ICSK_TIME_*

	// Sequence numbers, as the kernel counts (32 bit, wrapping).
	SndUna, SndNxt, WriteSeq, RcvNxt, CopiedSeq uint32
	SendWindow                                  uint32

	RTO, SRTT time.Duration
	// MinRTT is the shortest round trip that was measured lately, 0 if none was.
	MinRTT time.Duration
	// LastReceive is since the last data segment came, LastAck since the last
	// ACK came, LastSend since the last data segment was sent.
	LastReceive, LastAck, LastSend time.Duration
	// Waiting is since the SYN, or the first segment that is being
	// retransmitted now, was sent (retrans_stamp), or since a minisocket stands
	// in FIN_WAIT2; negative if there is none, or it is not known.
	Waiting time.Duration
	// Expires is until the pending timer fires: the retransmission timer,
	// or for a minisocket its end. Negative if no timer runs.
	Expires time.Duration
	// Keepalive is SO_KEEPALIVE.
	Keepalive bool

	// AcceptQueue and AcceptLimit are sk_ack_backlog and sk_max_ack_backlog
	// of a listener.
	AcceptQueue, AcceptLimit uint32

	// Busy is since something has been queued for sending without a break, or
	// since the peer's window limits it, whichever is later; negative if nothing
	// is queued.
	Busy time.Duration
	// ReceiveMemory is what the data queued for reading takes of ReceiveBuffer,
	// the kernel's overhead included, in bytes (sk_rmem_alloc, sk_rcvbuf).
	ReceiveMemory, ReceiveBuffer uint32

	// Limits decide when the kernel gives up.
	Limits Limits

	// SYN is what is known beyond the socket of a connect that waits.
	SYN SYN
}

// Limits are the settings and timers that decide when the kernel ends a socket by
// itself (net/ipv4/tcp_timer.c): the socket's own where it has them, else those
// of its network namespace. A minisocket has HZ, Jiffies and FinTimeout only.
type Limits struct {
	// HZ is the kernel's tick rate, jiffies a second; 0 if nothing was read.
	HZ uint32
	// Jiffies is the low half of the kernel's clock when the socket was read:
	// timers fire at multiples of it.
	Jiffies uint32

	// RTOMax bounds the retransmission timeout; 0 where the kernel has no
	// setting for it (before 6.15).
	RTOMax time.Duration
	// UserTimeout is TCP_USER_TIMEOUT, 0 if not set.
	UserTimeout time.Duration
	// Probing is since the first zero-window probe was due; negative if none
	// was, or it is not known.
	Probing time.Duration
	// FinTimeout is how long an orphan stays in FIN_WAIT2: TCP_LINGER2 or
	// tcp_fin_timeout; negative if it does not stay at all.
	FinTimeout time.Duration

	// KeepaliveTime and KeepaliveInterval are TCP_KEEPIDLE and TCP_KEEPINTVL or
	// the namespace's, whether or not SO_KEEPALIVE is set.
	KeepaliveTime, KeepaliveInterval time.Duration
	// KeepaliveExpires is until the keepalive timer fires, which is also that
	// of an orphan in FIN_WAIT2; negative if it does not run.
	KeepaliveExpires time.Duration
	KeepaliveProbes  uint8 // TCP_KEEPCNT or tcp_keepalive_probes

	SynRetries        uint8 // TCP_SYNCNT or tcp_syn_retries
	SynLinearTimeouts uint8 // tcp_syn_linear_timeouts, 0 before 6.5
	Retries2          uint8 // tcp_retries2
	OrphanRetries     uint8 // tcp_orphan_retries
}

// Unread is how many bytes wait to be read. The FIN occupies one sequence
// number after RCV_SHUTDOWN; it is not counted as a byte.
func (s *Sock) Unread() uint32 {
	n := s.RcvNxt - s.CopiedSeq
	if s.finReceived() && n > 0 {
		n--
	}
	return n
}

// FinUnread reports whether the peer's FIN is still in front of the reader:
// rcv_nxt counts it, copied_seq does not (net/ipv4/tcp_input.c, tcp_fin).
func (s *Sock) FinUnread() bool { return s.finReceived() && s.RcvNxt != s.CopiedSeq }

func (s *Sock) finReceived() bool {
	switch s.State {
	case StateCloseWait, StateLastAck, StateClosing, StateTimeWait:
		return true
	}
	return false
}

// Unacked is how many bytes were sent and not acknowledged. A SYN or FIN in
// flight takes a sequence number too; it is not a byte and not counted.
func (s *Sock) Unacked() uint32 {
	d := s.SndNxt - s.SndUna
	if int32(d) <= 0 {
		return 0
	}
	if s.State == StateSynSent || (s.finSent() && s.SndNxt == s.WriteSeq) {
		d--
	}
	return d
}

// FinUnacked reports whether our FIN was sent and not acknowledged: it takes the
// last sequence number, write_seq counts it.
func (s *Sock) FinUnacked() bool {
	return s.finSent() && s.SndNxt == s.WriteSeq && s.SndNxt != s.SndUna
}

// finSent reports whether our FIN is queued or in flight: write_seq counts it.
func (s *Sock) finSent() bool {
	switch s.State {
	case StateFinWait1, StateLastAck, StateClosing:
		return true
	}
	return false
}

// Unsent is how many bytes were written and not sent yet, a queued FIN not
// counted.
func (s *Sock) Unsent() uint32 {
	d := s.WriteSeq - s.SndNxt
	if int32(d) <= 0 {
		return 0
	}
	if s.finSent() {
		d--
	}
	return d
}
