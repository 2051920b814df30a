package workload

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChurn(t *testing.T) {
	needRoot(t) // for the namespace
	ns := newNamespace(t)
	for name, spec := range map[string]ChurnSpec{
		"one":          {Connections: 1},
		"none":         {},
		"two threads":  {Connections: 12_001, Threads: 2},
		"IPv6":         {Connections: 2000, Family: IPv6},
		"mapped":       {Connections: 2000, Family: IPv4Mapped, Threads: 3},
		"in the netns": {Connections: 2000, Threads: 2, NS: ns},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Churn(context.Background(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if res.Connections != spec.Connections {
				t.Errorf("%d connections, want %d", res.Connections, spec.Connections)
			}
			t.Logf("%d connections, %.0f a second", res.Connections, res.Rate())
		})
	}
}

func TestChurnStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	res, err := Churn(ctx, ChurnSpec{Connections: 1_000_000})
	if err != nil || res.Connections != 0 {
		t.Errorf("after the end of its context: %d connections, %v", res.Connections, err)
	}
	if _, err := Churn(ctx, ChurnSpec{Connections: -1}); err == nil {
		t.Error("a negative number of connections was accepted")
	}
}

func TestHold(t *testing.T) {
	if _, err := RaiseFileLimit(4096); err != nil {
		t.Fatal(err)
	}
	h, err := Hold(nil, IPv4, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ports := make(map[uint16]bool)
	for _, l := range h.lis {
		ports[l.addr.Port()] = true
	}
	count := func() (n int) {
		seen, err := Diag(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range seen {
			if d.State == tcpEstablished && (ports[d.Local.Port()] || ports[d.Peer.Port()]) {
				n++
			}
		}
		return n
	}
	if n := count(); n != 1000 {
		t.Errorf("%d established ends, want 1000", n)
	}
	h.Close()
	if n := count(); n != 0 {
		t.Errorf("%d established ends after Close", n)
	}
}

// Queued connections have data that is not acknowledged, and go on.
func TestQueue(t *testing.T) {
	h, err := HoldQueued(nil, IPv4, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i := 0; i < len(h.fds); i += 2 {
		if n, err := unix.IoctlGetInt(h.fds[i], unix.SIOCOUTQ); err != nil || n == 0 {
			t.Errorf("connection %d has %d bytes queued, %v", i/2, n, err)
		}
	}
	before := received(t, h)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Trickle(ctx, 200*time.Millisecond) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		moved := 0
		for i, n := range received(t, h) {
			if n > before[i] {
				moved++
			}
		}
		if moved == len(before) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d connections move", moved, len(before))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// received is how much the accepting ends have got.
func received(t *testing.T, h *Held) (n []uint64) {
	t.Helper()
	for i := 1; i < len(h.fds); i += 2 {
		info, err := unix.GetsockoptTCPInfo(h.fds[i], unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		n = append(n, info.Bytes_received)
	}
	return n
}
