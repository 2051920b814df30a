package tracer

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// readSocket asks for the values of one of our sockets, found by its cookie.
func readSocket(t *testing.T, tr *Tracer, s *socket) flow.Sock {
	t.Helper()
	sock := flow.Sock{ID: find(t, tr, s.cookie).ID}
	if err := tr.Read([]*flow.Sock{&sock}, false); err != nil {
		t.Fatal(err)
	}
	if sock.Gone {
		t.Fatalf("socket %#x is gone", s.cookie)
	}
	return sock
}

func find(t *testing.T, tr *Tracer, cookie uint64) flow.Sock {
	t.Helper()
	var found flow.Sock
	err := tr.Walk(flow.WalkStates{States: everyState, TimeWait: true}, func(s *flow.Sock) {
		if s.Cookie == cookie {
			found = *s
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if found.Cookie != cookie {
		t.Fatalf("no socket with cookie %#x", cookie)
	}
	return found
}

func TestReadQueues(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, server := pair(t, ipv4)

	client.write(make([]byte, 1000))
	client.shutdown()
	server.in(flow.StateCloseWait)
	s := readSocket(t, tr, server)
	if s.Unread() != 1000 || !s.FinUnread() {
		t.Errorf("%d unread, end of file unread %v; want 1000, true", s.Unread(), s.FinUnread())
	}
	server.read(400)
	if s = readSocket(t, tr, server); s.Unread() != 600 || !s.FinUnread() {
		t.Errorf("after reading 400: %d unread, end of file unread %v; want 600, true", s.Unread(), s.FinUnread())
	}
	server.read(600)
	server.read(0)
	if s = readSocket(t, tr, server); s.Unread() != 0 || s.FinUnread() {
		t.Errorf("after reading all: %d unread, end of file unread %v; want 0, false", s.Unread(), s.FinUnread())
	}
	server.fill()
	s = readSocket(t, tr, server)
	if got, want := int(s.Unacked()+s.Unsent()), server.ioctl(unix.SIOCOUTQ); got != want {
		t.Errorf("%d bytes unacknowledged and unsent, SIOCOUTQ says %d", got, want)
	}
	if got, want := int(s.Unsent()), server.ioctl(unix.SIOCOUTQNSD); got != want || want == 0 {
		t.Errorf("%d bytes unsent, SIOCOUTQNSD says %d", got, want)
	}
}

// What the kernel tells the owner of a socket by TCP_INFO, it tells us too.
func TestReadAgreesWithTCPInfo(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			newNamespace(t)
			client, server := pair(t, f)
			client.write(make([]byte, 100))
			server.read(100)
			eventually(t, "an acknowledgement", func() bool { return client.info().Unacked == 0 })
			before := client.info()
			s := readSocket(t, tr, client)
			after := client.info()
			if got := uint32(s.SRTT / time.Microsecond); got != before.Rtt {
				t.Errorf("SRTT %d µs, TCP_INFO says %d", got, before.Rtt)
			}
			// TCP_INFO converts jiffies, which are 1 to 10 ms.
			if got := uint32(s.RTO / time.Microsecond); got != before.Rto {
				t.Errorf("RTO %d µs, TCP_INFO says %d", got, before.Rto)
			}
			between(t, "last sending", s.LastSend, before.Last_data_sent, after.Last_data_sent)
			between(t, "last ACK", s.LastAck, before.Last_ack_recv, after.Last_ack_recv)
			if s.Role != flow.RoleClient {
				t.Errorf("role %q of the client", s.Role)
			}
			received := readSocket(t, tr, server)
			between(t, "last receive", received.LastReceive, 0, server.info().Last_data_recv)
			if received.Role == flow.RoleClient {
				t.Errorf("role %q of the server", received.Role)
			}
		})
	}
}

func between(t *testing.T, what string, got time.Duration, from, to uint32) {
	t.Helper()
	const jiffy = 10 * time.Millisecond
	low, high := time.Duration(from)*time.Millisecond-jiffy, time.Duration(to)*time.Millisecond+jiffy
	if got < low || got > high {
		t.Errorf("%s %v ago, TCP_INFO says %v to %v", what, got, low, high)
	}
}

// A client that bound its port is not taken for a server.
func TestReadRole(t *testing.T) {
	tr := load(t, Options{ReadOnly: true})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			newNamespace(t)
			l := listen(t, f, 1)
			bound := newSocket(t, f)
			// The namespace is ours, so any port is free.
			if err := unix.Bind(bound.fd, sockaddr(netip.AddrPortFrom(f.bind.Addr(), 4000))); err != nil {
				t.Fatal(err)
			}
			bound.connect(l.local())
			server := l.accept()
			if got := readSocket(t, tr, bound).Role; got != flow.RoleClient {
				t.Errorf("role %q of a client that bound its port, want client", got)
			}
			if got := readSocket(t, tr, server).Role; got == flow.RoleClient {
				t.Errorf("role %q of the server", got)
			}
		})
	}
}

func TestReadFlags(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, _ := pair(t, ipv4)
	if s := readSocket(t, tr, client); s.Keepalive {
		t.Error("keepalive on a socket that did not ask for it")
	}
	client.setInt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	if s := readSocket(t, tr, client); !s.Keepalive {
		t.Error("no keepalive on a socket that asked for it")
	}
	l := listen(t, ipv4, 4)
	newSocket(t, ipv4).connect(l.local())
	var waiting flow.Sock
	eventually(t, "a connection nobody accepted", func() bool {
		_ = tr.Walk(flow.WalkStates{States: flow.StateEstablished.Bit()}, func(s *flow.Sock) {
			if s.Local == l.local() {
				waiting = *s
			}
		})
		return waiting.Local.IsValid()
	})
	if waiting.HasSocket || waiting.Dead || waiting.Inode != 0 {
		t.Errorf("unaccepted: has a socket %v, orphan %v, inode %d; want none of it",
			waiting.HasSocket, waiting.Dead, waiting.Inode)
	}
}

func TestReadGone(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	client, _ := pair(t, ipv4)
	live := find(t, tr, client.cookie).ID
	other := live
	other.Cookie++
	noCookie, otherPeer, otherSpace := live, live, live
	noCookie.Cookie, otherPeer.Cookie, otherSpace.Cookie = 0, 0, 0
	otherPeer.Peer = live.Local
	otherSpace.NetNS++
	unbound := noCookie
	unbound.Local = netip.AddrPortFrom(live.Local.Addr(), 0)
	tests := []struct {
		name string
		id   flow.ID
		gone bool
	}{
		{"the socket itself", live, false},
		{"its address with another cookie", other, true},
		{"no cookie, same connection", noCookie, false},
		{"no cookie, the port not known yet", unbound, false},
		{"no cookie, another peer", otherPeer, true},
		{"no cookie, another namespace", otherSpace, true},
		{"no address", flow.ID{Key: flow.Key{Cookie: 1}}, true},
		{"an address of user space", flow.ID{Key: flow.Key{Addr: 0x1000, Cookie: 1}}, true},
		{"no address at all", flow.ID{Key: flow.Key{Addr: 0xdead_0000_0000_0000, Cookie: 1}}, true},
		{"an address where nothing is", flow.ID{Key: flow.Key{Addr: 0xffff_ffff_ffff_f000, Cookie: 1}}, true},
	}
	socks := make([]*flow.Sock, len(tests))
	for i, tt := range tests {
		socks[i] = &flow.Sock{ID: tt.id}
	}
	if err := tr.Read(socks, false); err != nil {
		t.Fatal(err)
	}
	for i, tt := range tests {
		if socks[i].Gone != tt.gone {
			t.Errorf("%s: gone %v, want %v", tt.name, socks[i].Gone, tt.gone)
		}
		if tt.gone && socks[i].ID != tt.id {
			t.Errorf("%s: the identity changed to %+v", tt.name, socks[i].ID)
		}
	}
}

// A closed socket's memory serves the next one; what was meant is gone then.
func TestReadRecycled(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	l := listen(t, ipv4, 16)
	client, server := pairWith(t, ipv4, l)
	was := find(t, tr, client.cookie).ID
	if err := unix.SetsockoptLinger(client.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	client.close()
	server.close()
	eventually(t, "the socket gone", func() bool {
		s := &flow.Sock{ID: was}
		if err := tr.Read([]*flow.Sock{s}, false); err != nil {
			t.Fatal(err)
		}
		return s.Gone || s.State == flow.StateClose
	})
	var next flow.Sock
	for range 2000 {
		pairWith(t, ipv4, l)
	}
	err := tr.Walk(flow.WalkStates{States: everyState}, func(s *flow.Sock) {
		if s.Addr == was.Addr {
			next = *s
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if next.Addr == 0 {
		t.Skip("the kernel did not use the memory again for 4,000 sockets")
	}
	s := &flow.Sock{ID: was}
	if err := tr.Read([]*flow.Sock{s}, false); err != nil {
		t.Fatal(err)
	}
	if !s.Gone || next.Cookie == was.Cookie {
		t.Errorf("address %#x belongs to socket %#x now, and %#x is said to be there still", was.Addr, next.Cookie, was.Cookie)
	}
}

// Several batches of values, each answered in its place.
func TestReadMany(t *testing.T) {
	newNamespace(t)
	tr := load(t, Options{ReadOnly: true})
	var ours []*socket
	for range 3 {
		client, server := pair(t, ipv4)
		ours = append(ours, client, server)
	}
	ids := map[uint64]flow.ID{}
	for _, s := range ours {
		ids[s.cookie] = find(t, tr, s.cookie).ID
	}
	var socks []*flow.Sock
	for i := range 3*valuesMax + 1 {
		socks = append(socks, &flow.Sock{ID: ids[ours[i%len(ours)].cookie]})
	}
	if err := tr.Read(socks, false); err != nil {
		t.Fatal(err)
	}
	for i, s := range socks {
		if s.Gone || s.Inode != ours[i%len(ours)].inode {
			t.Fatalf("socket %d: gone %v, inode %d, want %d", i, s.Gone, s.Inode, ours[i%len(ours)].inode)
		}
	}
	if err := tr.Read(nil, true); err != nil {
		t.Errorf("reading no sockets: %v", err)
	}
}
