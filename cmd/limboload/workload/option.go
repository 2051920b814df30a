package workload

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deafen makes the kernel drop every segment that arrives for the socket, as
// a firewall in front of it would: the filter runs after the look-up and
// before the state machine (net/ipv4/tcp_ipv4.c, tcp_v4_rcv, tcp_filter).
// Sockets that a listener accepts inherit its filter.
func deafen(fd int) error {
	f := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	p := unix.SockFprog{Len: 1, Filter: (*unix.SockFilter)(unsafe.Pointer(&f))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		return fmt.Errorf("attaching a filter that drops everything: %w", err)
	}
	return nil
}

// undeafen lets segments through again.
func undeafen(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return fmt.Errorf("detaching the filter: %w", err)
	}
	return nil
}

// vanish closes a socket without sending anything, as if its host had lost
// power: in repair mode tcp_close only disconnects (net/ipv4/tcp.c).
func vanish(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return fmt.Errorf("entering TCP repair mode (CAP_NET_ADMIN is needed): %w", err)
	}
	return unix.Close(fd)
}

// abort closes a socket with a reset instead of a FIN.
func abort(fd int) {
	if fd < 0 {
		return
	}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// setLinger2 sets how long an orphan stays in FIN_WAIT2, in seconds.
func setLinger2(fd, seconds int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_LINGER2, seconds); err != nil {
		return fmt.Errorf("setting TCP_LINGER2: %w", err)
	}
	return nil
}

func cookie(fd int) (uint64, error) {
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("reading SO_COOKIE: %w", err)
	}
	return c, nil
}

func inode(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("reading the inode number: %w", err)
	}
	return st.Ino, nil
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading the local address: %w", err)
	}
	return addrPort(sa)
}

// peerAddr does not work in SYN_SENT: getpeername(2) says ENOTCONN there.
func peerAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading the peer's address: %w", err)
	}
	return addrPort(sa)
}

func addrPort(sa unix.Sockaddr) (netip.AddrPort, error) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("reading an address of unknown family %T", sa)
}

// stateOf returns the TCP state of a descriptor.
func stateOf(fd int) (uint8, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, fmt.Errorf("reading TCP_INFO: %w", err)
	}
	return info.State, nil
}

// waitState waits until a descriptor is in one of the states. Loopback
// delivers within the sender's system call most of the time, but not when
// ksoftirqd has taken over.
func waitState(fd int, want ...uint8) error {
	return waitStateFor(fd, opTimeout, 50*time.Microsecond, want...)
}

// waitStateFor is waitState for what takes longer than a moment.
func waitStateFor(fd int, timeout, every time.Duration, want ...uint8) error {
	deadline := time.Now().Add(timeout)
	for {
		st, err := stateOf(fd)
		if err != nil {
			return err
		}
		for _, w := range want {
			if st == w {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for TCP state %v: still in %d after %s", want, st, timeout)
		}
		time.Sleep(every)
	}
}

// takeFIN waits until a FIN has arrived at fd, reads it and makes the kernel
// acknowledge it now. The acknowledgement of a lone FIN is delayed by 40 ms
// (net/ipv4/tcp_input.c, tcp_fin enters ping-pong mode), until it comes the
// sender is in FIN_WAIT1, and TCP_QUICKACK sends it only when nothing is left
// to read (net/ipv4/tcp.c, __tcp_cleanup_rbuf looks at sk_rmem_alloc).
func takeFIN(fd int) error {
	if err := waitState(fd, tcpCloseWait); err != nil {
		return err
	}
	if err := readAll(fd, 0, true); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return fmt.Errorf("setting TCP_QUICKACK: %w", err)
	}
	return nil
}

// again repeats a call that a signal interrupted. The kernel restarts it by
// itself except where a timeout is set (signal(7)), as it is on ours, and the
// runtime sends itself signals all the time. A connect(2) that is called again
// goes on waiting (net/ipv4/af_inet.c, __inet_stream_connect).
func again(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
