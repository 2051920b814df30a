package listing

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func collect(t *testing.T, k *fakeKernel, filter Filter) []finding.Finding {
	t.Helper()
	rows, err := Collect(k, filter, t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func ports(rows []finding.Finding) []uint16 {
	var out []uint16
	for i := range rows {
		out = append(out, rows[i].Sock.Local.Port())
	}
	return out
}

// What is asked for is shown, and nothing else, the oldest first.
func TestFilters(t *testing.T) {
	tests := []struct {
		name   string
		filter Filter
		want   []uint16
	}{
		{"in limbo", Filter{}, []uint16{1002, 1005, 1007, 1006, 1004, 1003, 80, 1011, 1001}},
		{"everything", Filter{All: true}, []uint16{1002, 1005, 1007, 1006, 1004, 1003, 80, 1011, 1001, 1010, 81, 1008, 1009, 80}},
		{"a state", Filter{States: flow.StateCloseWait.Bit()}, []uint16{1002, 80, 1011, 1010}},
		{"two states", Filter{States: flow.StateSynSent.Bit() | flow.StateFinWait2.Bit()}, []uint16{1004, 1003, 1001}},
		{"a healthy state", Filter{States: flow.StateEstablished.Bit()}, []uint16{1008}},
		{"TIME_WAIT", Filter{States: flow.StateTimeWait.Bit()}, []uint16{1009}},
		{"listeners", Filter{States: flow.StateListen.Bit()}, []uint16{81, 80}},
		{"a state and all", Filter{States: flow.StateSynSent.Bit(), All: true}, []uint16{1001}},
		{"an age", Filter{OlderThan: 40 * time.Second}, []uint16{1002, 1005, 1007, 1006, 1004, 1003}},
		{"an age just above", Filter{OlderThan: 40*time.Second + 1}, []uint16{1002, 1005, 1007, 1006, 1004}},
		{"an age that no listener has", Filter{All: true, OlderThan: time.Second}, []uint16{1002, 1005, 1007, 1006, 1004, 1003, 80, 1011, 1001}},
		{"a process", Filter{PID: 11}, []uint16{1002}},
		{"a process and all", Filter{PID: 11, All: true}, []uint16{1002, 1010, 1008}},
		{"a listener's process", Filter{PID: 20}, []uint16{80}},
		{"a listener's process and all", Filter{PID: 20, All: true}, []uint16{80, 80}},
		{"nobody's process", Filter{PID: 99, All: true}, nil},
		{"a namespace", Filter{NetNS: otherNS}, []uint16{1011}},
		{"a namespace and all", Filter{NetNS: otherNS, All: true}, []uint16{1011, 81}},
		{"a local port", Filter{Port: 1006}, []uint16{1006}},
		{"a peer's port", Filter{Port: 443, OlderThan: time.Minute}, []uint16{1002, 1005, 1007, 1006}},
		{"a listener's port", Filter{Port: 81, All: true}, []uint16{81}},
		{"several", Filter{Port: 443, PID: 12, NetNS: hostNS, States: flow.StateFinWait2.Bit(), OlderThan: time.Second}, []uint16{1003}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ports(collect(t, host(), tt.filter)); !slices.Equal(got, tt.want) {
				t.Errorf("listed %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRow(t *testing.T) {
	rows := collect(t, host(), Filter{All: true})
	byPort := map[uint16]*finding.Finding{}
	for i := range rows {
		if rows[i].Sock.State != flow.StateListen {
			byPort[rows[i].Sock.Local.Port()] = &rows[i]
		}
	}
	tests := []struct {
		port   uint16
		kind   finding.Kind
		reason finding.Reason
		age    time.Duration
		pid    uint32
		as     finding.Relation
	}{
		{1001, finding.SynSentStalled, finding.NoReply, 4 * time.Second, 10, finding.RelationHolder},
		{1002, finding.CloseWaitSilent, finding.EOFIgnored, 90 * time.Second, 11, finding.RelationHolder},
		{1003, finding.FinWait2Dangling, finding.HalfClosed, 40 * time.Second, 12, finding.RelationHolder},
		{1004, finding.FinWait2Dangling, finding.Orphaned, 50 * time.Second, 0, finding.RelationNone},
		{1005, finding.ClosingStalled, finding.PeerSilent, 70 * time.Second, 0, finding.RelationNone},
		{1008, finding.KindNone, finding.ReasonNone, -1, 11, finding.RelationHolder},
		{1009, finding.KindNone, finding.ReasonNone, -1, 0, finding.RelationNone},
		{80, finding.CloseWaitSilent, finding.Unaccepted, 35 * time.Second, 20, finding.RelationListener},
	}
	for _, tt := range tests {
		f := byPort[tt.port]
		if f.Kind != tt.kind || f.Reason != tt.reason || f.Duration != tt.age {
			t.Errorf("port %d: %v %v for %v, want %v %v for %v", tt.port, f.Kind, f.Reason, f.Duration, tt.kind, tt.reason, tt.age)
		}
		if p := f.Owner.Process; p.PID != tt.pid || p.Relation != tt.as {
			t.Errorf("port %d: %v of pid %d, want %v of pid %d", tt.port, p.Relation, p.PID, tt.as, tt.pid)
		}
		if f.SinceExact || !f.Live || !f.Time.Equal(now) {
			t.Errorf("port %d: exact %v, live %v, at %v", tt.port, f.SinceExact, f.Live, f.Time)
		}
		if tt.age < 0 {
			if !f.Since.IsZero() {
				t.Errorf("port %d is healthy: since %v", tt.port, f.Since)
			}
			continue
		}
		if m := explain.Message(f); !f.Since.Equal(now.Add(-tt.age)) || !strings.Contains(m, " for at least ") {
			t.Errorf("port %d: since %v, %q", tt.port, f.Since, m)
		}
	}
	if f := byPort[1004]; !f.GivesUp.Known || f.GivesUp.In != 10*time.Second {
		t.Errorf("the minisocket: %+v", f.GivesUp)
	}
	if f := byPort[80]; f.Sock.Role != flow.RoleServer {
		t.Errorf("what waits to be accepted is a %v", f.Sock.Role)
	}
	if f := byPort[1011]; f.Owner.Process.PID != 13 {
		t.Errorf("in another namespace: pid %d", f.Owner.Process.PID)
	}
}

func TestListeners(t *testing.T) {
	k := host()
	// Forked: one socket, two holders; and a second descriptor.
	again := k.held[len(k.held)-2]
	again.PID, again.FD = 22, 5
	k.held = append(k.held, again)
	rows := collect(t, k, Filter{States: flow.StateListen.Bit()})
	if len(rows) != 2 {
		t.Fatalf("%d listeners, want 2: %v", len(rows), ports(rows))
	}
	l := rows[1]
	if l.Sock.Local.String() != "[::]:80" || l.Sock.State != flow.StateListen || l.Sock.Role != flow.RoleServer || l.Live || l.Duration >= 0 {
		t.Errorf("%v %v %v, live %v, for %v", l.Sock.Local, l.Sock.State, l.Sock.Role, l.Live, l.Duration)
	}
	if l.Sock.AcceptQueue != 2 || l.Sock.AcceptLimit != 128 || l.Sock.NetNS != hostNS {
		t.Errorf("queue %d of %d in %d", l.Sock.AcceptQueue, l.Sock.AcceptLimit, l.Sock.NetNS)
	}
	if o := l.Owner; o.Process.PID != 20 || o.Process.FD != 5 || o.Process.Relation != finding.RelationHolder || o.Total != 2 {
		t.Errorf("held by %+v, %d holders", o.Process, o.Total)
	}
}

// A closing socket whose peer takes nothing is not passing, though nothing
// proves since when.
func TestZeroWindowIsNotPassing(t *testing.T) {
	k := new(fakeKernel)
	s := k.sock(flow.StateFinWait1, 1001, -1, 0)
	s.SendWindow, s.WriteSeq = 0, 1000
	k.sock(flow.StateFinWait1, 1002, -1, 0)
	rows := collect(t, k, Filter{})
	if got := ports(rows); !slices.Equal(got, []uint16{1001}) {
		t.Fatalf("listed %v", got)
	}
	if rows[0].Reason != finding.ZeroWindow || rows[0].Duration != 0 {
		t.Errorf("%v for %v", rows[0].Reason, rows[0].Duration)
	}
	if got := ports(collect(t, k, Filter{OlderThan: time.Second})); got != nil {
		t.Errorf("listed %v as older than a second", got)
	}
}

// A short exchange stamps both directions in one moment and is no sending after
// the peer's close; a stream that went on is.
func TestSendingIsAfterReceiving(t *testing.T) {
	const recent = 400 * time.Millisecond
	k := new(fakeKernel)
	for port, received := range map[uint16]time.Duration{1001: recent, 1002: recent + 10*time.Millisecond, 1003: recent + time.Second} {
		s := k.sock(flow.StateCloseWait, port, recent, 13)
		s.LastReceive, s.LastSend = received, recent
	}
	for _, row := range collect(t, k, Filter{}) {
		port := row.Sock.Local.Port()
		if got := row.Reason == finding.StillSending; got != (port == 1003) {
			t.Errorf("%d, received %s and sent %s ago: %v", port, row.Sock.LastReceive, row.Sock.LastSend, row.Reason)
		}
	}
}

// Sockets of one age stand in the order of their addresses.
func TestOrderOfEqualAges(t *testing.T) {
	k := new(fakeKernel)
	for _, port := range []uint16{30, 10, 20, 40} {
		k.sock(flow.StateCloseWait, port, time.Minute, 0)
	}
	k.socks[3].Local = netip.MustParseAddrPort("9.9.9.9:40")
	if got := ports(collect(t, k, Filter{})); !slices.Equal(got, []uint16{40, 10, 20, 30}) {
		t.Errorf("listed %v", got)
	}
}

func TestNothing(t *testing.T) {
	if rows := collect(t, new(fakeKernel), Filter{All: true}); len(rows) != 0 {
		t.Errorf("%d rows on an empty host", len(rows))
	}
}

func TestKernelFails(t *testing.T) {
	broken := errors.New("broken")
	k := host()
	k.walkErr = broken
	if _, err := Collect(k, Filter{}, t.TempDir(), now); !errors.Is(err, broken) || !strings.Contains(err.Error(), "walking") {
		t.Errorf("error %v", err)
	}
	k = new(fakeKernel)
	k.readErr = broken
	k.sock(flow.StateEstablished, 1001, time.Minute, 10).RcvNxt = 1
	if _, err := Collect(k, Filter{}, t.TempDir(), now); !errors.Is(err, broken) || !strings.Contains(err.Error(), "reading") {
		t.Errorf("error %v", err)
	}
	k = host()
	k.facingErr = broken
	if _, err := Collect(k, Filter{OtherEnds: true}, t.TempDir(), now); !errors.Is(err, broken) || !strings.Contains(err.Error(), "other ends") {
		t.Errorf("error %v", err)
	}
	if _, err := Collect(k, Filter{}, t.TempDir(), now); err != nil {
		t.Errorf("error %v of what was not asked for", err)
	}
	k = host()
	k.holdersErr = broken
	for _, states := range []flow.StateSet{0, flow.StateListen.Bit()} {
		if _, err := Collect(k, Filter{States: states}, t.TempDir(), now); !errors.Is(err, broken) || !strings.Contains(err.Error(), "finding") {
			t.Errorf("error %v", err)
		}
	}
}

// The other end is told where it is on this host, of what is in limbo.
func TestOtherEnds(t *testing.T) {
	k := host()
	end := func(of uint16, pid uint32) *flow.Sock {
		i := slices.IndexFunc(k.socks, func(s flow.Sock) bool { return s.Local.Port() == of })
		facing := k.socks[i].ID
		s := k.sock(flow.StateEstablished, 443, time.Hour, pid)
		s.Local, s.Peer, s.NetNS = facing.Peer, facing.Local, facing.NetNS+1
		if pid != 0 {
			k.held[len(k.held)-1].Local, k.held[len(k.held)-1].NetNS = s.Local, s.NetNS
		}
		return s
	}
	end(1002, 30)
	end(1004, 31) // of a minisocket
	end(1005, 0)
	end(1008, 32) // of a healthy one
	end(1003, 33).SndNxt += 1 << 20
	end(1006, 34).SndUna += 1 << 20 // of one that moves, or of another connection
	k.socks[len(k.socks)-1].SndNxt += 1 << 20
	got := map[uint16]uint32{}
	for _, f := range collect(t, k, Filter{All: true, OtherEnds: true}) {
		if f.Peer == nil {
			continue
		}
		got[f.Sock.Local.Port()] = f.Peer.Owner.Process.PID
		if f.Peer.State != flow.StateEstablished || f.Peer.Orphan != (f.Peer.Owner.Process.PID == 0) {
			t.Errorf("other end %+v of %v", f.Peer, f.Sock.Local)
		}
	}
	want := map[uint16]uint32{1002: 30, 1003: 33, 1004: 31, 1005: 0}
	if !maps.Equal(got, want) {
		t.Errorf("other ends of %v, want %v", got, want)
	}
}

// Programs come from the proc file system that is named.
func TestPrograms(t *testing.T) {
	k := new(fakeKernel)
	k.sock(flow.StateCloseWait, 1001, time.Minute, 11)
	root := t.TempDir()
	dir := filepath.Join(root, "11")
	stat := "11 (p11) S" + strings.Repeat(" 0", 30)
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644),
		os.Symlink("/srv/api", filepath.Join(dir, "exe")))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Collect(k, Filter{}, root, now)
	if err != nil || len(rows) != 1 || rows[0].Owner.Process.Path != "/srv/api" {
		t.Fatalf("%v, %+v", err, rows)
	}
	if m := explain.Message(&rows[0]); !strings.Contains(m, "api (pid 11, fd 3)") {
		t.Errorf("message %q", m)
	}
}
