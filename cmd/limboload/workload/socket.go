package workload

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// opTimeout bounds every blocking socket call here: on loopback they take
// microseconds, and a test must fail rather than hang.
const opTimeout = 10 * time.Second

// TCP states as tcp_info reports them (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpClosing     = 11
)

func (f Family) domain() int {
	if f == IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// loopback is the address both ends use. IPv6 has only one; a Family's
// IPv4-mapped form is made in sockaddr.
func (f Family) loopback() netip.Addr {
	if f == IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// sockaddr maps IPv4 addresses where the socket is an IPv6 one.
func (f Family) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if f == IPv4 {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// newSocket makes a TCP socket in ns. Raw system calls, not package net: the
// runtime's poller would turn on keepalive and read errors off the socket.
func newSocket(ns *Namespace, f Family) (int, error) {
	fd := -1
	err := ns.Do(func() (err error) {
		fd, err = unix.Socket(f.domain(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("creating a TCP socket: %w", err)
	}
	if f == IPv4Mapped {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			closeAll(fd)
			return -1, fmt.Errorf("making the socket dual-stack: %w", err)
		}
	}
	tv := unix.NsecToTimeval(opTimeout.Nanoseconds())
	for _, opt := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, opt, &tv); err != nil {
			closeAll(fd)
			return -1, fmt.Errorf("bounding blocking calls: %w", err)
		}
	}
	return fd, nil
}

// listener is a listening socket and its address.
type listener struct {
	fd     int
	family Family
	ns     *Namespace
	addr   netip.AddrPort
}

// listen opens a listener on a free port of addr. rcvbuf limits the receive
// buffer of accepted connections, 0 leaves the default; freebind allows an
// address that the namespace does not have yet.
func listen(ns *Namespace, f Family, addr netip.AddrPort, backlog, rcvbuf int, freebind bool) (*listener, error) {
	fd, err := newSocket(ns, f)
	if err != nil {
		return nil, err
	}
	l := &listener{fd: fd, family: f, ns: ns}
	if err := l.open(addr, backlog, rcvbuf, freebind); err != nil {
		closeAll(fd)
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return l, nil
}

func (l *listener) open(addr netip.AddrPort, backlog, rcvbuf int, freebind bool) error {
	if freebind {
		if err := unix.SetsockoptInt(l.fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1); err != nil {
			return err
		}
	}
	if rcvbuf > 0 {
		if err := unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf); err != nil {
			return err
		}
	}
	if err := unix.Bind(l.fd, l.family.sockaddr(addr)); err != nil {
		return err
	}
	if err := unix.Listen(l.fd, backlog); err != nil {
		return err
	}
	var err error
	l.addr, err = localAddr(l.fd)
	return err
}

// dial connects to the listener from the listener's own namespace.
func (l *listener) dial() (int, error) {
	fd, err := newSocket(l.ns, l.family)
	if err != nil {
		return -1, err
	}
	if err := again(func() error { return unix.Connect(fd, l.family.sockaddr(l.addr)) }); err != nil {
		closeAll(fd)
		return -1, fmt.Errorf("connecting to %s: %w", l.addr, err)
	}
	return fd, nil
}

// dialSilently starts to connect and does not wait.
func dialSilently(ns *Namespace, f Family, to netip.AddrPort, synRetries int) (int, error) {
	fd, err := newSocket(ns, f)
	if err != nil {
		return -1, err
	}
	if synRetries > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, synRetries); err != nil {
			closeAll(fd)
			return -1, fmt.Errorf("setting TCP_SYNCNT: %w", err)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeAll(fd)
		return -1, fmt.Errorf("making the socket non-blocking: %w", err)
	}
	if err := unix.Connect(fd, f.sockaddr(to)); err != unix.EINPROGRESS {
		closeAll(fd)
		return -1, fmt.Errorf("connecting to %s: got %w where it should be in progress", to, errOrSuccess(err))
	}
	return fd, nil
}

func errOrSuccess(err error) error {
	if err == nil {
		return fmt.Errorf("success")
	}
	return err
}

func (l *listener) accept() (int, error) {
	fd, err := accept(l.fd)
	if err != nil {
		return -1, fmt.Errorf("accepting on %s: %w", l.addr, err)
	}
	return fd, nil
}

func accept(listener int) (fd int, err error) {
	err = again(func() error {
		fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return err
	})
	return fd, err
}

// pair returns both ends of a new connection.
func (l *listener) pair() (client, server int, err error) {
	if client, err = l.dial(); err != nil {
		return -1, -1, err
	}
	if server, err = l.accept(); err != nil {
		closeAll(client)
		return -1, -1, err
	}
	return client, server, nil
}

func (l *listener) close() {
	if l != nil {
		closeAll(l.fd)
		l.fd = -1
	}
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
