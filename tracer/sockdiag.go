package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// diagRequest is a struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h) for one
// connection. Package netlink has only requests that list: those compare ports and
// not addresses, and take no IPv4-mapped socket for IPv4.
type diagRequest struct {
	local, peer netip.AddrPort
}

const (
	// diagRequestSize and diagMessageSize are those of the kernel's structs.
	diagRequestSize = 56
	diagMessageSize = 72
	// Where a struct inet_diag_sockid stands in both, and in it the parts.
	diagRequestID = 8
	diagMessageID = 4
	diagSource    = 4
	diagDest      = 20
	diagCookie    = 40

	noDiagCookie = 0xffffffff
)

// Len implements nl.NetlinkRequestData.
func (r diagRequest) Len() int { return diagRequestSize }

// Serialize implements nl.NetlinkRequestData.
func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestSize)
	b[0], b[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if r.local.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff)
	id := b[diagRequestID:]
	binary.BigEndian.PutUint16(id, r.local.Port())
	binary.BigEndian.PutUint16(id[2:], r.peer.Port())
	copy(id[diagSource:], r.local.Addr().AsSlice())
	copy(id[diagDest:], r.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[diagCookie:], noDiagCookie)
	binary.NativeEndian.PutUint32(id[diagCookie+4:], noDiagCookie)
	return b
}

// diagCookieOf asks sock_diag, in the present network namespace, for the cookie of
// a connection, which makes one if there is none.
func diagCookieOf(local, peer netip.AddrPort) (uint64, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(diagRequest{local, peer})
	messages, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if err != nil {
		return 0, fmt.Errorf("asking sock_diag: %w", err)
	}
	if len(messages) != 1 || len(messages[0]) < diagMessageSize {
		return 0, fmt.Errorf("asking sock_diag: %d answers, want one of %d bytes", len(messages), diagMessageSize)
	}
	id := messages[0][diagMessageID:]
	size := 16
	if messages[0][0] == unix.AF_INET {
		size = 4
	}
	// Where the connection is gone, its listener answers.
	if diagAddr(id[diagSource:], size, id) != local || diagAddr(id[diagDest:], size, id[2:]) != peer {
		return 0, fmt.Errorf("asking sock_diag: another socket answered for %v to %v", local, peer)
	}
	// Two words, the low one first (net/core/sock_diag.c, sock_diag_save_cookie).
	return binary.LittleEndian.Uint64(id[diagCookie:]), nil
}

func diagAddr(addr []byte, size int, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr[:size])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
