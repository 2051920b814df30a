package listing

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// One reading tells whether the next hop answers and whether the listener is full.
func TestWhyConnectsWait(t *testing.T) {
	k := new(fakeKernel)
	answered := k.sock(flow.StateSynSent, 1, 4*time.Second, 11).ID
	silent := k.sock(flow.StateSynSent, 2, 3*time.Second, 11).ID
	full := k.sock(flow.StateSynSent, 3, 2*time.Second, 11)
	full.Peer = netip.MustParseAddrPort("10.0.0.9:8080")
	k.listener("0.0.0.0:8080", otherNS, 20, 3)
	l := &k.held[len(k.held)-1]
	l.AcceptQueue, l.AcceptLimit = 129, 128
	k.silent = []uint64{silent.Addr}
	k.addresses = map[flow.Key][]netip.Addr{l.Key: {full.Peer.Addr()}}
	want := map[uint16]finding.Reason{
		answered.Local.Port(): finding.NoReply, silent.Local.Port(): finding.Unreachable, full.Local.Port(): finding.ListenerOverflow,
	}
	rows := collect(t, k, Filter{})
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i := range rows {
		f := &rows[i]
		if port := f.Sock.Local.Port(); f.Reason != want[port] {
			t.Errorf("port %d: %v, want %v", port, f.Reason, want[port])
		}
		if overflows := f.Reason == finding.ListenerOverflow; overflows != (f.Listener != nil) {
			t.Errorf("%v: listener %+v", f.Reason, f.Listener)
		}
		if f.Listener != nil && (f.Listener.Process.PID != 20 || f.Listener.Queue != 129) {
			t.Errorf("listener %+v", f.Listener)
		}
	}
}

func TestCausesThatCannotBeRead(t *testing.T) {
	k := new(fakeKernel)
	k.sock(flow.StateSynSent, 1, 4*time.Second, 11)
	k.causesErr = errors.New("broken")
	if _, err := Collect(k, Filter{}, t.TempDir(), now); !errors.Is(err, k.causesErr) {
		t.Errorf("got %v", err)
	}
}
