package e2e

import (
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// A reader that stops lets what is written to it pile up: that is warned about, by
// service and peer, and is over once it reads again.
func TestWriteQueues(t *testing.T) {
	s := newScene(t)
	near := s.namespace(false)
	l := s.connect(near, near, netip.MustParseAddr("127.0.0.1"), false)
	ns, err := near.Inode()
	if err != nil {
		t.Fatal(err)
	}
	a := startRun(t, "--established", "4s", "--warn-pending", "256KiB", "--warn-undrained", "2s", "--warn-flush-p99", "0")
	written := fill(t, l.near)
	full := time.Now()
	open := map[string]*record{}
	if !a.wait(20*time.Second, func(records []*record) bool {
		for _, r := range records {
			if queueOf(r, ns, l.nearT) && r.str("tcplimbo.write_queue.status") == "open" {
				open[r.str("tcplimbo.write_queue.limit")] = r
			}
		}
		return len(open) == 2
	}) {
		t.Fatalf("warned of %v", open)
	}
	pending, undrained := open["pending"], open["undrained"]
	if pending == nil || undrained == nil {
		t.Fatalf("warned of %v", open)
	}
	queued := pending.num("tcplimbo.write_queue.unsent_bytes") + pending.num("tcplimbo.write_queue.unacked_bytes")
	if queued <= 256<<10 || queued > written || pending.num("tcplimbo.write_queue.sockets") != 1 {
		t.Errorf("%d bytes were written: %s", written, pending.line)
	}
	if d := undrained.seconds("tcplimbo.write_queue.undrained_seconds"); d <= 2*time.Second || d > undrained.seen.Sub(full)+time.Second {
		t.Errorf("full for %s: %s", undrained.seen.Sub(full), undrained.line)
	}
	go func() { _, _ = io.Copy(io.Discard, l.far) }() // until the connection is closed
	if !a.wait(20*time.Second, func(records []*record) bool {
		over := 0
		for _, r := range records {
			if queueOf(r, ns, l.nearT) && r.str("tcplimbo.write_queue.status") == "resolved" {
				over++
			}
		}
		return over == 2
	}) {
		t.Error("what was drained is not told to be over")
	}
	a.stop(syscall.SIGTERM)
}

// queueOf: a warning about what the near end has written. It connected, so its own
// port is not told.
func queueOf(r *record, ns uint64, tuple workload.Tuple) bool {
	_, port := r.fields["network.local.port"]
	return r.str("event.name") == "tcplimbo.write_queue" && uint64(r.num("tcplimbo.socket.netns")) == ns && !port &&
		r.str("network.peer.address") == tuple.Peer.Addr().String() && uint16(r.num("network.peer.port")) == tuple.Peer.Port()
}
