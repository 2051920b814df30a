package tracer

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Sockets by system call: Go's net package reads, accepts and sets options
// behind a test's back.

// family is how the two ends of a connection were made.
type family struct {
	name   string
	domain int
	// bind is where the listener listens; the kernel takes a free port.
	bind netip.AddrPort
	// addr is what a reader of the kernel should say.
	addr netip.Addr
}

var (
	ipv4 = family{"ipv4", unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddr("127.0.0.1")}
	ipv6 = family{"ipv6", unix.AF_INET6, netip.MustParseAddrPort("[::1]:0"), netip.IPv6Loopback()}
	// mapped is IPv4 spoken by IPv6 sockets.
	mapped   = family{"mapped", unix.AF_INET6, netip.MustParseAddrPort("[::ffff:127.0.0.1]:0"), netip.MustParseAddr("127.0.0.1")}
	families = []family{ipv4, ipv6, mapped}
)

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrOf(t testing.TB, sa unix.Sockaddr) netip.AddrPort {
	t.Helper()
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	t.Fatalf("a socket address of type %T", sa)
	return netip.AddrPort{}
}

// socket is a TCP socket of this process.
type socket struct {
	t      testing.TB
	fd     int
	closed bool
	// cookie is asked for at once, so that 5.10 has one too.
	cookie uint64
	inode  uint64
}

func wrap(t testing.TB, fd int) *socket {
	t.Helper()
	s := &socket{t: t, fd: fd}
	t.Cleanup(s.close)
	var err error
	if s.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		t.Fatalf("asking for the cookie: %v", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		t.Fatal(err)
	}
	s.inode = stat.Ino
	return s
}

func newSocket(t testing.TB, f family) *socket {
	t.Helper()
	fd, err := unix.Socket(f.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatalf("opening a socket: %v", err)
	}
	return wrap(t, fd)
}

// listen gives a listener with a queue of so many connections, and one more.
func listen(t testing.TB, f family, backlog int) *socket {
	t.Helper()
	l := newSocket(t, f)
	if err := unix.Bind(l.fd, sockaddr(f.bind)); err != nil {
		t.Fatalf("binding to %v: %v", f.bind, err)
	}
	if err := unix.Listen(l.fd, backlog); err != nil {
		t.Fatalf("listening: %v", err)
	}
	return l
}

// local is the raw address, that of a mapped socket still mapped.
func (s *socket) local() netip.AddrPort {
	s.t.Helper()
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		s.t.Fatalf("asking for the address: %v", err)
	}
	return addrOf(s.t, sa)
}

func (s *socket) connect(to netip.AddrPort) {
	s.t.Helper()
	if err := unix.Connect(s.fd, sockaddr(to)); err != nil {
		s.t.Fatalf("connecting to %v: %v", to, err)
	}
}

func (s *socket) accept() *socket {
	s.t.Helper()
	fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		s.t.Fatalf("accepting: %v", err)
	}
	return wrap(s.t, fd)
}

func (s *socket) shutdown() {
	s.t.Helper()
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil {
		s.t.Fatalf("shutting down: %v", err)
	}
}

func (s *socket) close() {
	if !s.closed {
		s.closed = true
		unix.Close(s.fd)
	}
}

func (s *socket) write(b []byte) {
	s.t.Helper()
	if n, err := unix.Write(s.fd, b); err != nil || n != len(b) {
		s.t.Fatalf("writing %d bytes: %d, %v", len(b), n, err)
	}
}

// read reads until n bytes came, or the end of file if n is 0.
func (s *socket) read(n int) {
	s.t.Helper()
	b := make([]byte, max(n, 1))
	for got := 0; got < n || n == 0; {
		m, err := unix.Read(s.fd, b)
		if err != nil {
			s.t.Fatalf("reading: %v", err)
		}
		if m == 0 {
			if got < n {
				s.t.Fatalf("end of file after %d of %d bytes", got, n)
			}
			return
		}
		got += m
	}
}

// fill writes until neither the peer's buffer nor ours takes more.
func (s *socket) fill() (written int) {
	s.t.Helper()
	chunk := make([]byte, 64<<10)
	for {
		n, err := unix.SendmsgN(s.fd, chunk, nil, nil, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return written
		}
		if err != nil {
			s.t.Fatalf("writing until it blocks: %v", err)
		}
		written += n
	}
}

func (s *socket) setInt(level, option, value int) {
	s.t.Helper()
	if err := unix.SetsockoptInt(s.fd, level, option, value); err != nil {
		s.t.Fatalf("setting option %d: %v", option, err)
	}
}

// ioctl asks for one of the queue lengths.
func (s *socket) ioctl(request uint) int {
	s.t.Helper()
	n, err := unix.IoctlGetInt(s.fd, request)
	if err != nil {
		s.t.Fatalf("asking for a queue's length: %v", err)
	}
	return n
}

func (s *socket) info() *unix.TCPInfo {
	s.t.Helper()
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		s.t.Fatalf("asking for TCP_INFO: %v", err)
	}
	return info
}

// in waits until the socket is in a state.
func (s *socket) in(state flow.State) *socket {
	s.t.Helper()
	eventually(s.t, "a socket in "+state.String(), func() bool { return flow.State(s.info().State) == state })
	return s
}

// pair is an established connection.
func pair(t testing.TB, f family) (client, server *socket) {
	t.Helper()
	l := listen(t, f, 1)
	defer l.close()
	return pairWith(t, f, l)
}

func pairWith(t testing.TB, f family, l *socket) (client, server *socket) {
	t.Helper()
	client = newSocket(t, f)
	client.connect(l.local())
	return client, l.accept()
}

// silent is an address where no SYN is answered: a listener whose queue is full.
func silent(t testing.TB, f family) netip.AddrPort {
	t.Helper()
	l := listen(t, f, 0)
	newSocket(t, f).connect(l.local())
	eventually(t, "a full accept queue", func() bool { return l.info().Unacked == 1 })
	return l.local()
}

// begin connects without waiting for an answer.
func begin(t testing.TB, f family, to netip.AddrPort) *socket {
	t.Helper()
	s := newSocket(t, f)
	if err := unix.SetNonblock(s.fd, true); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(s.fd, sockaddr(to)); err != unix.EINPROGRESS {
		t.Fatalf("connecting to a silent address: %v, want EINPROGRESS", err)
	}
	return s
}

// unmapped is an address as events and values have it.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
