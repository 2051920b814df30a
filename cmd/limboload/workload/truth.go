package workload

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Truth is what is known about one stuck socket by the program that made it.
// Names are those of tcplimbo's contract.
type Truth struct {
	Kind   string `json:"kind"`   // of the finding: close_wait_silent …
	Reason string `json:"reason"` // eof_unread …
	State  string `json:"state"`  // close_wait …
	// Outcome is how it was ended; empty while it is stuck.
	Outcome string `json:"outcome,omitempty"`

	Network string         `json:"network"` // ipv4 or ipv6
	Local   netip.AddrPort `json:"local"`   // never IPv4-mapped
	Peer    netip.AddrPort `json:"peer"`
	Role    string         `json:"role"` // client or server

	NetNS  uint64 `json:"netns"`            // inode number
	Inode  uint64 `json:"inode,omitempty"`  // 0: no struct socket any more or yet
	Cookie uint64 `json:"cookie,omitempty"` // SO_COOKIE
	PID    int    `json:"pid"`
	// FD is the descriptor in PID; -1 if there is none.
	FD int `json:"fd"`
	// Relation is how PID stands to the socket: holder, closer or listener.
	Relation string `json:"relation"`

	// Unread is how many bytes wait to be read, the end of file not counted.
	Unread int `json:"unread_bytes,omitempty"`

	// The socket entered its state between Since and SinceLatest. Boot times
	// are nanoseconds of CLOCK_BOOTTIME.
	Since           time.Time `json:"since"`
	SinceLatest     time.Time `json:"since_latest"`
	SinceBoot       int64     `json:"since_boot_ns"`
	SinceBootLatest int64     `json:"since_boot_latest_ns"`

	// Companion marks an end that is stuck only because its other end is.
	Companion bool `json:"companion,omitempty"`
}

// Tuple is what names a socket within its network namespace.
type Tuple struct {
	NetNS       uint64
	Local, Peer netip.AddrPort
}

// Tuple returns the socket's name.
func (t *Truth) Tuple() Tuple { return Tuple{t.NetNS, t.Local, t.Peer} }

// verdict is the part of a Truth that does not depend on the socket.
type verdict struct{ kind, reason, state string }

// The verdicts, spelt as in the contract.
var (
	eofUnread       = verdict{"close_wait_silent", "eof_unread", "close_wait"}
	eofIgnored      = verdict{"close_wait_silent", "eof_ignored", "close_wait"}
	stillSending    = verdict{"close_wait_silent", "still_sending", "close_wait"}
	unaccepted      = verdict{"close_wait_silent", "unaccepted", "close_wait"}
	noReply         = verdict{"syn_sent_stalled", "no_reply", "syn_sent"}
	halfClosed      = verdict{"fin_wait2_dangling", "half_closed", "fin_wait_2"}
	orphaned        = verdict{"fin_wait2_dangling", "orphaned", "fin_wait_2"}
	finUnacked      = verdict{"closing_stalled", "peer_silent", "fin_wait_1"}
	finUnsent       = verdict{"closing_stalled", "zero_window", "fin_wait_1"}
	closingUnacked  = verdict{"closing_stalled", "peer_silent", "closing"}
	lastAckUnacked  = verdict{"closing_stalled", "peer_silent", "last_ack"}
	roleName        = map[bool]string{false: "client", true: "server"}
	relationHolder  = "holder"
	relationCloser  = "closer"
	relationListens = "listener"
)

// moment is one instant on both clocks.
type moment struct {
	wall time.Time
	boot int64
}

func now() moment {
	var ts unix.Timespec
	// CLOCK_BOOTTIME cannot fail on any kernel since 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return moment{wall: time.Now(), boot: ts.Nano()}
}

// add returns the moment d later.
func (m moment) add(d time.Duration) moment {
	return moment{wall: m.wall.Add(d), boot: m.boot + d.Nanoseconds()}
}

// delayedACK is how long a lone FIN can wait for its acknowledgement, which
// is what moves its sender from FIN_WAIT1 to FIN_WAIT2: TCP_DELACK_MIN is
// 40 ms (include/net/tcp.h), the rest is a busy machine's timer.
const delayedACK = 60 * time.Millisecond

// describe reads the identity of a live descriptor of this process.
func describe(fd int, server bool, netns uint64) (*Truth, error) {
	local, err := localAddr(fd)
	if err != nil {
		return nil, err
	}
	peer, err := peerAddr(fd)
	if err != nil {
		return nil, err
	}
	ino, err := inode(fd)
	if err != nil {
		return nil, err
	}
	cookie, err := cookie(fd)
	if err != nil {
		return nil, err
	}
	t := &Truth{
		Local: local, Peer: peer, Role: roleName[server], NetNS: netns, Inode: ino, Cookie: cookie,
		PID: os.Getpid(), FD: fd, Relation: relationHolder, Network: networkOf(local),
	}
	return t, nil
}

func networkOf(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// stuck says since when, and as what, the socket is stuck.
func (t *Truth) stuck(v verdict, from, to moment) *Truth {
	t.Kind, t.Reason, t.State = v.kind, v.reason, v.state
	t.Since, t.SinceBoot = from.wall, from.boot
	t.SinceLatest, t.SinceBootLatest = to.wall, to.boot
	return t
}

// closed says that the program closed its descriptor: the socket is an orphan
// and has no struct socket, hence no inode number, any more.
func (t *Truth) closed() *Truth {
	t.FD, t.Inode, t.Relation = -1, 0, relationCloser
	return t
}
