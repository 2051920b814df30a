package listing

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// oneWay is a half-closed socket whose open direction goes on: the last ACK is young.
func oneWay(k *fakeKernel, state flow.State, port uint16, quiet time.Duration) *flow.Sock {
	s := k.sock(state, port, 20*time.Millisecond, 10)
	s.LastReceive, s.LastSend = 20*time.Millisecond, quiet
	if state == flow.StateCloseWait {
		s.LastReceive, s.LastSend = s.LastSend, s.LastReceive
	}
	return s
}

// A socket that goes on in one direction is listed if two readings find it there,
// also if nothing tells since when the other is quiet.
func TestOneWay(t *testing.T) {
	k := new(fakeKernel)
	oneWay(k, flow.StateFinWait2, 1001, -1)
	oneWay(k, flow.StateFinWait2, 1002, time.Hour)
	oneWay(k, flow.StateFinWait2, 1003, 20*time.Millisecond) // an exchange that ends just now
	oneWay(k, flow.StateCloseWait, 1004, time.Hour)
	gone := oneWay(k, flow.StateFinWait2, 1005, -1).Key
	closed := oneWay(k, flow.StateCloseWait, 1006, time.Hour).Key
	k.after = func(s *flow.Sock) {
		switch s.Key {
		case gone:
			s.Gone = true
		case closed:
			s.State = flow.StateLastAck
		}
	}
	rows := collectStalled(t, k, Filter{})
	got := ports(rows)
	slices.Sort(got)
	if !slices.Equal(got, []uint16{1001, 1002, 1004}) {
		t.Fatalf("listed %v", got)
	}
	for i := range rows {
		f := &rows[i]
		want := finding.HalfClosed
		if f.Sock.State == flow.StateCloseWait {
			want = finding.StillSending
		}
		if f.Reason != want || f.Duration != apart || !f.Time.Equal(now.Add(apart)) || !f.Since.Equal(now) {
			t.Errorf("%v: %v since %v for %v", f.Sock.Local, f.Reason, f.Since, f.Duration)
		}
	}
}

// Who asks for a state is shown what is there, passing or not, by one reading.
func TestOneWayByState(t *testing.T) {
	k := new(fakeKernel)
	oneWay(k, flow.StateFinWait2, 1001, -1)
	k.after = func(*flow.Sock) { t.Error("read again") }
	if got := ports(collect(t, k, Filter{States: flow.StateFinWait2.Bit()})); !slices.Equal(got, []uint16{1001}) {
		t.Errorf("listed %v", got)
	}
}
