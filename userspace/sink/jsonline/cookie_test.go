package jsonline

import (
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// TestCookieIsAsSSPrintsIt compares with ss(8), whose users will search for it.
func TestCookieIsAsSSPrintsIt(t *testing.T) {
	ss, err := exec.LookPath("ss")
	if err != nil {
		t.Skip("ss is not installed")
	}
	// A Go listener is a Multipath TCP socket by default, and that one has
	// another cookie than the TCP socket below it, which ss shows.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f := sinktest.Findings()[3].Finding
	f.Sock.Cookie = cookie(t, listener.(*net.TCPListener))
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	out, err := exec.Command(ss, "-Htlne", "sport", "=", ":"+port).CombinedOutput()
	if err != nil {
		t.Fatalf("running ss: %v: %s", err, out)
	}
	got := object(t, testEncoder().AppendFinding(nil, &f))["tcplimbo.socket.cookie"].(string)
	if !strings.Contains(string(out)+" ", " sk:"+got+" ") {
		t.Errorf("cookie %q, ss prints %s", got, out)
	}
	if n, err := strconv.ParseUint(got, 16, 64); err != nil || n != f.Sock.Cookie {
		t.Errorf("cookie %q is not %#x", got, f.Sock.Cookie)
	}
}

func cookie(t *testing.T, c syscall.Conn) uint64 {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	ctlErr := raw.Control(func(fd uintptr) {
		n, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	})
	if ctlErr != nil || err != nil {
		t.Fatalf("reading SO_COOKIE: %v %v", ctlErr, err)
	}
	return n
}
