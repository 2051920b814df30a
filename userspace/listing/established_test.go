package listing

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// stalled has sockets whose data waits: each of them is stuck by its first reading.
func stalled() *fakeKernel {
	k := new(fakeKernel)
	add := func(port uint16, f func(*flow.Sock)) {
		s := k.sock(flow.StateEstablished, port, time.Minute, 10)
		s.Busy, s.Limits.Probing, s.LastReceive, s.RTO = -1, -1, 2*time.Minute, 200*time.Millisecond
		f(s)
	}
	add(1001, func(s *flow.Sock) { s.SndNxt, s.WriteSeq, s.Retransmits, s.Busy = 500, 500, 6, time.Hour })
	add(1002, func(s *flow.Sock) { s.WriteSeq, s.SendWindow, s.Pending, s.Backoff = 900, 0, 3, 4 })
	add(1003, func(s *flow.Sock) { s.RcvNxt = 77 })
	add(1004, func(s *flow.Sock) { s.HasSocket = false })
	add(1005, func(*flow.Sock) {})
	add(1006, func(s *flow.Sock) { s.RcvNxt, s.LastReceive = 77, 2*time.Second })
	add(1007, func(s *flow.Sock) { s.WriteSeq, s.SendWindow, s.Pending, s.Backoff = 900, 0, 3, 3 })
	return k
}

func collectStalled(t *testing.T, k *fakeKernel, filter Filter) (rows []finding.Finding) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { rows = collect(t, k, filter) })
	return rows
}

func TestStalledRows(t *testing.T) {
	rows := collectStalled(t, stalled(), Filter{})
	want := []struct {
		port   uint16
		reason finding.Reason
		age    time.Duration
	}{
		{1004, finding.Unaccepted, 2 * time.Minute},
		{1003, finding.NotReading, 2 * time.Minute},
		{1001, finding.PeerSilent, time.Minute},
		{1002, finding.ZeroWindow, 0},
	}
	if len(rows) != len(want) {
		t.Fatalf("listed %v", ports(rows))
	}
	byPort := map[uint16]*finding.Finding{}
	for i := range rows {
		byPort[rows[i].Sock.Local.Port()] = &rows[i]
	}
	for _, tt := range want {
		f := byPort[tt.port]
		if f == nil || f.Kind != finding.EstablishedStalled || f.Reason != tt.reason || f.Duration != tt.age || f.SinceExact {
			t.Errorf("port %d: %+v, want %v for %v", tt.port, f, tt.reason, tt.age)
			continue
		}
		if !f.Since.Equal(f.Time.Add(-tt.age)) || !strings.Contains(explain.Message(f), "ESTABLISHED without progress for at least ") {
			t.Errorf("port %d: since %v at %v, %q", tt.port, f.Since, f.Time, explain.Message(f))
		}
	}
}

// What moves between the two readings is not stuck.
func TestMovingRows(t *testing.T) {
	for name, after := range map[string]func(*flow.Sock){
		"everything moves": func(s *flow.Sock) { s.SndUna++; s.CopiedSeq++; s.HasSocket = true },
		"all is gone":      func(s *flow.Sock) { *s = flow.Sock{ID: s.ID, Gone: true} },
		"all was closed":   func(s *flow.Sock) { s.State = flow.StateCloseWait },
	} {
		k := stalled()
		k.after = after
		if rows := collectStalled(t, k, Filter{}); len(rows) != 0 {
			t.Errorf("%s: listed %v", name, ports(rows))
		}
	}
}

func TestStalledFilters(t *testing.T) {
	established := flow.StateEstablished.Bit()
	tests := []struct {
		name   string
		filter Filter
		want   []uint16
		waits  bool
	}{
		{"in limbo", Filter{}, []uint16{1001, 1002, 1003, 1004}, true},
		{"the state", Filter{States: established}, []uint16{1001, 1002, 1003, 1004, 1005, 1006, 1007}, false},
		{"all", Filter{All: true}, []uint16{1001, 1002, 1003, 1004, 1005, 1006, 1007}, false},
		{"an age", Filter{OlderThan: 90 * time.Second}, []uint16{1003, 1004}, true},
		{"the state and an age", Filter{States: established, OlderThan: 30 * time.Second}, []uint16{1001, 1003, 1004}, true},
		{"another state", Filter{States: flow.StateCloseWait.Bit()}, nil, true},
	}
	for _, tt := range tests {
		k := stalled()
		got := ports(collectStalled(t, k, tt.filter))
		slices.Sort(got)
		if !slices.Equal(got, tt.want) || k.want.Waiting != tt.waits {
			t.Errorf("%s: listed %v (only what waits: %v), want %v", tt.name, got, k.want.Waiting, tt.want)
		}
	}
	// A healthy one among them stays without a judgement.
	for _, f := range collectStalled(t, stalled(), Filter{All: true}) {
		if f.Sock.Local.Port() == 1005 && (f.Kind != finding.KindNone || f.Duration >= 0) {
			t.Errorf("%v for %v", f.Kind, f.Duration)
		}
	}
}
