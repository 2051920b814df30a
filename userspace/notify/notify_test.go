package notify

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 10 * time.Second

// manager is a service manager: a real datagram socket that the daemon finds by its
// environment.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// next returns the fields of the next message; nil if none comes within the time.
func (m *manager) next(within time.Duration) map[string]string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		m.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	if err != nil {
		return nil
	}
	fields := map[string]string{}
	for line := range strings.SplitSeq(string(buf[:n]), "\n") {
		key, value, found := strings.Cut(line, "=")
		if !found {
			m.t.Errorf("message %q has a line without a value", buf[:n])
		}
		fields[key] = value
	}
	return fields
}

func service(t *testing.T) *Service {
	return &Service{
		OnError: func(err error) { t.Errorf("the manager is not told: %v", err) },
		Health:  func() string { return "" },
	}
}

func TestLife(t *testing.T) {
	m, s := newManager(t), service(t)
	s.Reloading() // not ready yet: nothing is said of it
	s.Reloaded()
	s.Ready("watching\nEXTEND_TIMEOUT_USEC=1")
	got := m.next(patience)
	if got["READY"] != "1" || got["STATUS"] != "watching EXTEND_TIMEOUT_USEC=1" || len(got) != 2 {
		t.Errorf("ready: %q", got)
	}
	s.Reloading()
	got = m.next(patience)
	usec, err := strconv.ParseInt(got["MONOTONIC_USEC"], 10, 64)
	if got["RELOADING"] != "1" || err != nil || usec <= 0 {
		t.Errorf("reloading: %q", got)
	}
	s.Reloaded()
	if got = m.next(patience); got["READY"] != "1" {
		t.Errorf("reloaded: %q", got)
	}
	s.Stopping()
	if got = m.next(patience); got["STOPPING"] != "1" {
		t.Errorf("stopping: %q", got)
	}
	s.Reloaded() // a reload that the end came in between
	if got = m.next(50 * time.Millisecond); got != nil {
		t.Errorf("after the end: %q", got)
	}
}

// The watchdog is fed as long as the loop beats, and no longer.
func TestWatchdog(t *testing.T) {
	m, s := newManager(t), service(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	var mu sync.Mutex
	problem := ""
	s.Health = func() string {
		mu.Lock()
		defer mu.Unlock()
		return problem
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx)
	}()
	for range 3 {
		if got := m.next(patience); got["WATCHDOG"] != "1" {
			t.Fatalf("got %q", got)
		}
	}
	mu.Lock()
	problem = "the loop stands still"
	mu.Unlock()
	for {
		got := m.next(patience)
		if got == nil {
			t.Fatal("nothing is said of the problem")
		}
		if got["STATUS"] == "the loop stands still" {
			break
		}
	}
	if got := m.next(200 * time.Millisecond); got != nil {
		t.Errorf("fed, or told twice, though the loop stands still: %q", got)
	}
	mu.Lock()
	problem = ""
	mu.Unlock()
	if got := m.next(patience); got["WATCHDOG"] != "1" {
		t.Errorf("not fed again: %q", got)
	}
	cancel()
	<-done
}

// Without a manager nothing is sent, and nothing is wrong; without a watchdog Watch ends.
func TestWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	s := service(t)
	s.Ready("watching")
	s.Reloading()
	s.Stopping()
	s.Watch(t.Context())
}

func TestManagerIsGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var told []string
	s := &Service{OnError: func(err error) { told = append(told, err.Error()) }, Health: func() string { return "" }}
	s.Ready("watching")
	s.Stopping()
	if len(told) != 1 || !strings.HasPrefix(told[0], "telling the service manager: ") {
		t.Errorf("told %q", told)
	}
	t.Setenv("WATCHDOG_USEC", "often")
	s = &Service{OnError: func(err error) { told = append(told, err.Error()) }, Health: func() string { return "" }}
	s.Watch(t.Context())
	if len(told) != 2 || !strings.HasPrefix(told[1], "reading WATCHDOG_USEC: ") {
		t.Errorf("told %q", told)
	}
}
