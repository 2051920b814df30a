package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const testNetNS = 4026532281

// message makes what the kernel sends.
type message struct {
	family, state, timer uint8
	local, peer          netip.AddrPort
	cookie               uint64
	expires, rqueue      uint32
	wqueue, inode        uint32
	shutdown             uint8
	info                 []byte
}

func (m *message) bytes() []byte {
	b := make([]byte, messageSize)
	b[0], b[1], b[2] = m.family, m.state, m.timer
	id := b[messageID:]
	binary.BigEndian.PutUint16(id, m.local.Port())
	binary.BigEndian.PutUint16(id[2:], m.peer.Port())
	copy(id[idSource:], m.local.Addr().AsSlice())
	copy(id[idDest:], m.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[idCookie:], uint32(m.cookie))
	binary.NativeEndian.PutUint32(id[idCookie+4:], uint32(m.cookie>>32))
	for i, v := range []uint32{m.expires, m.rqueue, m.wqueue, 1000, m.inode} {
		binary.NativeEndian.PutUint32(b[52+4*i:], v)
	}
	b = attribute(b, attrShutdown, []byte{m.shutdown})
	if m.info != nil {
		b = attribute(b, attrInfo, m.info)
	}
	return b
}

func attribute(b []byte, kind uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(v)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// info is a struct tcp_info with some words set, by their place.
func info(retransmits, backoff uint8, words map[int]uint32) []byte {
	b := make([]byte, infoSize)
	b[2], b[4] = retransmits, backoff
	for at, v := range words {
		binary.NativeEndian.PutUint32(b[at:], v)
	}
	return b
}

var (
	here  = netip.MustParseAddrPort("10.0.0.1:5000")
	there = netip.MustParseAddrPort("10.0.0.2:443")
)

func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		m    message
		want func(s *flow.Sock) bool
	}{
		{
			"a program that forgot to close",
			message{family: unix.AF_INET, state: 8, inode: 77, rqueue: 6, shutdown: 1, info: info(0, 0, map[int]uint32{56: 4000, 52: 4100, 44: 9000, 228: 100})},
			func(s *flow.Sock) bool {
				return s.State == flow.StateCloseWait && s.HasSocket && s.Inode == 77 && s.Unread() == 5 && s.FinUnread() &&
					s.LastAck == 4*time.Second && s.LastSend == 9*time.Second && !s.Dead && s.SendWindow == 100
			},
		},
		{
			"nobody accepted it",
			message{family: unix.AF_INET, state: 8, shutdown: 1, info: info(0, 0, nil)},
			func(s *flow.Sock) bool { return !s.HasSocket && !s.Dead },
		},
		{
			"an orphan",
			message{family: unix.AF_INET, state: 9, shutdown: 3, wqueue: 1, timer: timerRetransmit, expires: 300, info: info(2, 2, map[int]uint32{8: 800_000})},
			func(s *flow.Sock) bool {
				// 200 ms, 400 ms, and 500 ms of the 800; the first retransmission came after 200.
				return s.Dead && s.Unacked() == 0 && s.FinUnacked() && s.Waiting == 900*time.Millisecond && s.Expires == 300*time.Millisecond
			},
		},
		{
			"a minisocket",
			message{family: unix.AF_INET, state: 5, timer: timerTimeWait, expires: 42000},
			func(s *flow.Sock) bool {
				return s.TimeWait && s.Dead && !s.HasSocket && s.Expires == 42*time.Second && s.Waiting == -1
			},
		},
		{
			"a connect, after four linear timeouts and one that was doubled",
			message{family: unix.AF_INET, state: 2, inode: 1, wqueue: 1, timer: timerRetransmit, expires: 1500, info: info(5, 1, map[int]uint32{8: 2_000_000, 56: 99999})},
			func(s *flow.Sock) bool {
				return s.Role == flow.RoleClient && s.Unacked() == 0 && s.Waiting == 5500*time.Millisecond && s.LastAck == -1 && s.LastSend == -1
			},
		},
		{
			"a closed window",
			message{family: unix.AF_INET, state: 1, inode: 1, wqueue: 3000, timer: timerProbe, expires: 500, info: info(0, 2, map[int]uint32{8: 204_000, 144: 3000, 120: 1})},
			func(s *flow.Sock) bool {
				// 200, 400, and 300 of 800 ms.
				return s.Unsent() == 3000 && s.Unacked() == 0 && s.Pending == pendingProbe && s.Busy == 900*time.Millisecond &&
					s.Limits.Probing == 700*time.Millisecond
			},
		},
		{
			"IPv4 on an IPv6 socket",
			message{
				family: unix.AF_INET6, state: 1, inode: 1, timer: timerKeepalive, info: info(0, 0, nil),
				local: netip.MustParseAddrPort("[::ffff:10.0.0.1]:5000"), peer: netip.MustParseAddrPort("[::ffff:10.0.0.2]:443"),
			},
			func(s *flow.Sock) bool { return s.Keepalive && s.Pending == 0 && s.Expires == -1 },
		},
		{
			"a listener",
			message{family: unix.AF_INET, state: 10, inode: 1, rqueue: 3, wqueue: 128},
			func(s *flow.Sock) bool { return s.AcceptQueue == 3 && s.AcceptLimit == 128 },
		},
		{
			"a state of a later kernel",
			message{family: unix.AF_INET, state: 200},
			func(s *flow.Sock) bool { return s.State == flow.StateUnknown },
		},
	}
	for _, tt := range tests {
		if !tt.m.local.IsValid() {
			tt.m.local, tt.m.peer = here, there
		}
		tt.m.cookie = 0x1_2345_6789
		var a answer
		if err := a.decode(tt.m.bytes(), testNetNS); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		s := &a.sock
		if s.Local != here || s.Peer != there || s.Cookie != 0x1_2345_6789 || s.NetNS != testNetNS || netnsOf(s.Addr) != testNetNS || !tt.want(s) {
			t.Errorf("%s: got %+v", tt.name, *s)
		}
	}
}

// TestOldKernel: without the window that the peer announces, nothing is said.
func TestOldKernel(t *testing.T) {
	m := message{family: unix.AF_INET, state: 1, local: here, peer: there, info: info(0, 0, nil)[:infoSize-4]}
	var a answer
	if err := a.decode(m.bytes(), testNetNS); err == nil || !strings.Contains(err.Error(), "Linux 5.4") {
		t.Errorf("got %v", err)
	}
}

// TestAddress: sockets have addresses of their own, and they tell the namespace.
func TestAddress(t *testing.T) {
	seen := map[uint64]bool{}
	for _, netns := range []uint32{4026531833, 4026531840, 4026532281, 4294967295} {
		for _, cookie := range []uint64{1, 2, 1 << 20, 1 << 32, 1<<cookieBits - 1} {
			a := address(netns, cookie)
			if seen[a] || netnsOf(a) != netns || a == 0 {
				t.Errorf("%d, %d: %x", netns, cookie, a)
			}
			seen[a] = true
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := message{family: unix.AF_INET6, state: 8, local: here, peer: there, info: info(255, 255, map[int]uint32{8: 1<<32 - 1})}
	for _, timer := range []uint8{0, timerRetransmit, timerProbe, timerTimeWait, 255} {
		m.timer = timer
		f.Add(m.bytes())
	}
	f.Add(m.bytes()[:messageSize+5])
	f.Fuzz(func(t *testing.T, b []byte) {
		var a answer
		if err := a.decode(b, testNetNS); err != nil {
			return
		}
		s := &a.sock
		if s.State >= flow.StateMax || s.Waiting < -1 || s.Busy < -1 || s.Limits.Probing < -1 || s.Expires < -1 {
			t.Errorf("got %+v", *s)
		}
		var c conn
		_, _ = c.take(b, true, func(b []byte) error { return a.decode(b, testNetNS) })
	})
}
