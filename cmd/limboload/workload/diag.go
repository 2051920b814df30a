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

// Diag lists the TCP sockets of a namespace, listeners left out. It is an
// independent witness: nothing of tcplimbo is involved.
func Diag(ns *Namespace) (map[Tuple]DiagSock, error) {
	ino, err := ns.Inode()
	if err != nil {
		return nil, err
	}
	out := make(map[Tuple]DiagSock)
	err = ns.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			socks, err := dump(family)
			if err != nil {
				return err
			}
			for _, sk := range socks {
				d := diagSock(ino, sk)
				if d.Peer.Port() != 0 {
					out[d.Tuple] = d
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("asking sock_diag: %w", err)
	}
	return out, nil
}

func dump(family uint8) ([]*netlink.Socket, error) {
	var err error
	for range dumpTries {
		var socks []*netlink.Socket
		if socks, err = netlink.SocketDiagTCP(family); err == nil {
			return socks, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, err
}

func diagSock(netns uint64, s *netlink.Socket) DiagSock {
	addr := func(ip []byte, port uint16) netip.AddrPort {
		a, _ := netip.AddrFromSlice(ip)
		return netip.AddrPortFrom(a.Unmap(), port)
	}
	return DiagSock{
		Tuple: Tuple{
			NetNS: netns,
			Local: addr(s.ID.Source, s.ID.SourcePort), Peer: addr(s.ID.Destination, s.ID.DestinationPort),
		},
		Family: s.Family, State: s.State, Inode: s.INode, UID: s.UID,
		Cookie: uint64(s.ID.Cookie[1])<<32 | uint64(s.ID.Cookie[0]),
		RQueue: s.RQueue, WQueue: s.WQueue, Retrans: s.Retrans,
	}
}

// destroyRequest is struct inet_diag_req_v2 for SOCK_DESTROY. The library's
// own SocketDestroy knows IPv4 only and takes no cookie.
type destroyRequest struct {
	family uint8
	truth  *Truth
}

// Len returns the size of struct inet_diag_req_v2.
func (r *destroyRequest) Len() int { return 56 }

// Serialize returns the request as the kernel reads it.
func (r *destroyRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // all states
	binary.BigEndian.PutUint16(b[8:], r.truth.Local.Port())
	binary.BigEndian.PutUint16(b[10:], r.truth.Peer.Port())
	r.putAddr(b[12:], r.truth.Local.Addr())
	r.putAddr(b[28:], r.truth.Peer.Addr())
	binary.NativeEndian.PutUint32(b[48:], uint32(r.truth.Cookie))
	binary.NativeEndian.PutUint32(b[52:], uint32(r.truth.Cookie>>32))
	return b
}

func (r *destroyRequest) putAddr(b []byte, a netip.Addr) {
	if r.family == unix.AF_INET6 {
		ip := a.As16()
		copy(b, ip[:])
		return
	}
	copy(b, a.AsSlice())
}

// destroy ends a socket as `ss -K` does. That it is gone already is success.
func destroy(ns *Namespace, t *Truth) error {
	err := ns.Do(func() error {
		// An IPv4-mapped socket is found under AF_INET6 and, through the
		// mapped addresses, under AF_INET (net/ipv4/inet_diag.c,
		// inet_diag_find_one_icsk).
		family := uint8(unix.AF_INET)
		if t.Local.Addr().Is6() {
			family = unix.AF_INET6
		}
		req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		req.AddData(&destroyRequest{family: family, truth: t})
		_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("destroying %s: %w", t.Local, err)
	}
	return nil
}
