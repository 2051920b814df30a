package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DiagSock is a socket as sock_diag shows it, which is where ss(8) looks.
type DiagSock struct {
	Tuple
	Family  uint8
	State   uint8
	Cookie  uint64
	Inode   uint32 // 0: no struct socket
	UID     uint32
	RQueue  uint32
	WQueue  uint32
	Retrans uint8
}

// stateNames are the contract's names of the states sock_diag numbers.
var stateNames = map[uint8]string{
	tcpEstablished: "established", tcpSynSent: "syn_sent", tcpFinWait1: "fin_wait_1",
	tcpFinWait2: "fin_wait_2", tcpTimeWait: "time_wait", tcpCloseWait: "close_wait",
	tcpLastAck: "last_ack", tcpClosing: "closing",
}

// StateName returns the state as the contract spells it, empty if it is none
// that a connection has.
func (d *DiagSock) StateName() string { return stateNames[d.State] }

// dumpTries bounds how often a dump that the kernel interrupted is repeated.
const dumpTries = 20

// Diag lists the TCP connections of a namespace, TIME_WAIT left out. It is an
// independent witness: nothing of tcplimbo is involved.
func Diag(ns *Namespace) (map[Tuple]DiagSock, error) {
	ino, err := ns.Inode()
	if err != nil {
		return nil, err
	}
	out := make(map[Tuple]DiagSock)
	err = ns.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			msgs, err := dump(family)
			if err != nil {
				return err
			}
			for _, b := range msgs {
				d, err := diagSock(ino, b)
				if err != nil {
					return err
				}
				out[d.Tuple] = d
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking sock_diag: %w", err)
	}
	return out, nil
}

// watched are the states Diag asks for: all that a connection can be stuck
// in. Without the filter the dump would be mostly TIME_WAIT after a churn;
// FIN_WAIT2 includes timewait minisockets in that substate
// (net/ipv4/inet_diag.c, inet_diag_dump_icsk looks at tw_substate).
const watched = 1<<tcpEstablished | 1<<tcpSynSent | 1<<tcpFinWait1 | 1<<tcpFinWait2 |
	1<<tcpCloseWait | 1<<tcpLastAck | 1<<tcpClosing

func dump(family uint8) ([][]byte, error) {
	var err error
	for range dumpTries {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddData(&diagRequest{family: family, states: watched})
		var msgs [][]byte
		msgs, err = req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if err == nil {
			return msgs, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, err
}

// diagMsgLen is the size of struct inet_diag_msg (linux/inet_diag.h).
const diagMsgLen = 72

func diagSock(netns uint64, b []byte) (DiagSock, error) {
	if len(b) < diagMsgLen {
		return DiagSock{}, fmt.Errorf("decoding inet_diag_msg: %d bytes, want %d", len(b), diagMsgLen)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	addr := func(at, port int) netip.AddrPort {
		a := netip.AddrFrom4([4]byte(b[at:]))
		if b[0] == unix.AF_INET6 {
			a = netip.AddrFrom16([16]byte(b[at:])).Unmap()
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[port:]))
	}
	return DiagSock{
		Tuple:  Tuple{NetNS: netns, Local: addr(8, 4), Peer: addr(24, 6)},
		Family: b[0], State: b[1], Retrans: b[3],
		Cookie: uint64(word(48))<<32 | uint64(word(44)),
		RQueue: word(56), WQueue: word(60), UID: word(64), Inode: word(68),
	}, nil
}

// diagRequest is struct inet_diag_req_v2. The library's own requests know no
// state filter, and its SocketDestroy no IPv6 and no cookie.
type diagRequest struct {
	family      uint8
	states      uint32
	local, peer netip.AddrPort
	cookie      uint64
}

// Len returns the size of struct inet_diag_req_v2.
func (r *diagRequest) Len() int { return 56 }

// Serialize returns the request as the kernel reads it.
func (r *diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], r.states)
	binary.BigEndian.PutUint16(b[8:], r.local.Port())
	binary.BigEndian.PutUint16(b[10:], r.peer.Port())
	copy(b[12:], r.local.Addr().AsSlice())
	copy(b[28:], r.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[48:], uint32(r.cookie))
	binary.NativeEndian.PutUint32(b[52:], uint32(r.cookie>>32))
	return b
}

// destroy ends a socket as `ss -K` does. That it is gone already is success.
func destroy(ns *Namespace, t *Truth) error {
	err := ns.Do(func() error {
		// The look-up of an IPv4 address finds IPv4-mapped sockets as well
		// (net/ipv4/inet_diag.c, inet_diag_find_one_icsk).
		family := uint8(unix.AF_INET)
		if t.Local.Addr().Is6() {
			family = unix.AF_INET6
		}
		req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		req.AddData(&diagRequest{family: family, local: t.Local, peer: t.Peer, cookie: t.Cookie})
		_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("destroying %s: %w", t.Local, err)
	}
	return nil
}
