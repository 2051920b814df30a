package e2e

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInFlight: a descriptor that was sent and not received is in no process. The
// finding says so, names nobody, and does not say that somebody closed it.
func TestInFlight(t *testing.T) {
	sideBySide(t)
	needBPF(t)
	a := startRun(t)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	port := client.LocalAddr().(*net.TCPAddr).Port
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
	})
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(fd)), nil, 0)
	}); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil { // the client's end goes to CLOSE_WAIT
		t.Fatal(err)
	}
	var found *record
	a.wait(20*time.Second, func(records []*record) bool {
		for _, r := range records {
			if r.finding() && r.num("network.local.port") == int64(port) && r.str("network.connection.state") == "close_wait" {
				found = r
			}
		}
		return found != nil
	})
	a.stop(syscall.SIGTERM)
	if found == nil {
		t.Fatal("nothing is said of a socket whose descriptor is in flight")
	}
	if !strings.Contains(found.str("message"), "no process holds a descriptor") || strings.Contains(found.str("message"), "its process closed") {
		t.Errorf("says %q", found.str("message"))
	}
	for _, key := range []string{"process.pid", "tcplimbo.process.relation", "tcplimbo.socket.fd", "tcplimbo.socket.holders"} {
		if found.has(key) {
			t.Errorf("%s is %v, and no process has to do with it", key, found.fields[key])
		}
	}
	if found.num("tcplimbo.socket.inode") == 0 {
		t.Error("it has an inode, and that is left out")
	}
}
