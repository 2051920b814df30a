package givesup

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// end is a TCP socket of this process, one end of a connection on loopback.
type end struct {
	t  testing.TB
	fd int
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func newEnd(t testing.TB) *end {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatalf("opening a socket: %v", err)
	}
	e := &end{t: t, fd: fd}
	t.Cleanup(e.close)
	return e
}

func (e *end) close() {
	if e.fd >= 0 {
		unix.Close(e.fd)
		e.fd = -1
	}
}

func (e *end) must(what string, err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatalf("%s: %v", what, err)
	}
}

func (e *end) set(level, option, value int) {
	e.t.Helper()
	e.must(fmt.Sprintf("setting option %d", option), unix.SetsockoptInt(e.fd, level, option, value))
}

func (e *end) tcp(option, value int) { e.t.Helper(); e.set(unix.IPPROTO_TCP, option, value) }

func (e *end) shutdown() {
	e.t.Helper()
	e.must("shutting down", unix.Shutdown(e.fd, unix.SHUT_WR))
}

func (e *end) write(n int) {
	e.t.Helper()
	_, err := unix.Write(e.fd, make([]byte, n))
	e.must("writing", err)
}

// fill writes until neither the peer's buffer nor this one takes more, and what
// was sent is acknowledged.
func (e *end) fill() {
	e.t.Helper()
	chunk := make([]byte, 16<<10)
	for {
		_, err := unix.SendmsgN(e.fd, chunk, nil, nil, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			break
		}
		e.must("writing until it blocks", err)
	}
	eventually(e.t, "a closed window", func() bool { return e.info().Unacked == 0 })
}

// deaf makes the socket drop every segment, as if none arrived: a filter that
// keeps no byte.
func (e *end) deaf() {
	e.t.Helper()
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	e.must("attaching a filter", unix.SetsockoptSockFprog(e.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &drop}))
}

func (e *end) hear() { e.t.Helper(); e.set(unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }

func (e *end) local() netip.AddrPort {
	e.t.Helper()
	sa, err := unix.Getsockname(e.fd)
	e.must("asking for the address", err)
	in := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}

func (e *end) info() *unix.TCPInfo {
	e.t.Helper()
	info, err := unix.GetsockoptTCPInfo(e.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	e.must("asking for TCP_INFO", err)
	return info
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func listener(t testing.TB) *end {
	t.Helper()
	l := newEnd(t)
	// Small buffers: a window closes after few bytes.
	l.set(unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10)
	l.must("binding", unix.Bind(l.fd, sockaddr(loopback)))
	l.must("listening", unix.Listen(l.fd, 8))
	return l
}

// pair is an established connection: ours, and the peer's end.
func pair(t testing.TB) (ours, peer *end) {
	t.Helper()
	l := listener(t)
	defer l.close()
	ours = newEnd(t)
	ours.set(unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
	ours.must("connecting", unix.Connect(ours.fd, sockaddr(l.local())))
	fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
	l.must("accepting", err)
	peer = &end{t: t, fd: fd}
	t.Cleanup(peer.close)
	return ours, peer
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// newNamespace puts the test's thread into a network namespace of its own, which
// ends with the thread.
func newNamespace(t testing.TB) (inode uint32) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), &stat); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("bringing up lo: %v", err)
	}
	return uint32(stat.Ino)
}

// sysctl sets a value of the test's namespace; false if the kernel has no such.
func sysctl(t testing.TB, name string, value int) bool {
	t.Helper()
	path := filepath.Join("/proc/sys/net/ipv4", name)
	err := os.WriteFile(path, []byte(strconv.Itoa(value)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("setting %s to %d: %v", name, value, err)
	}
	return err == nil
}
