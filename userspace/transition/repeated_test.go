package transition

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// TestRepeated: what the kernel side tells twice is shown once.
func TestRepeated(t *testing.T) {
	type step struct {
		cookie   uint64
		old, new flow.State
		shown    bool
	}
	const (
		synRecv = flow.StateSynRecv
		lastAck = flow.StateLastAck
	)
	tests := map[string][]step{
		"at once": {
			{7, established, closeWait, true},
			{7, established, closeWait, false},
			{7, closeWait, lastAck, true},
			{7, closeWait, lastAck, false},
			{7, lastAck, closed, true},
			{7, lastAck, closed, false},
		},
		"late, after the close": {
			{7, closeWait, lastAck, true},
			{7, lastAck, closed, true},
			{7, closeWait, lastAck, false},
		},
		"another life at the address": {
			{7, synRecv, established, true},
			{8, synRecv, established, true},
			{7 + closedSlots, synRecv, established, true},
		},
		"a connect that is tried again on the same socket": {
			{7, closed, synSent, true},
			{7, synSent, closed, true},
			{7, closed, synSent, true},
			{7, synSent, closed, true},
		},
		"no cookies: nobody can tell": {
			{0, closeWait, lastAck, true},
			{0, closeWait, lastAck, true},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			c := New(new(fakeKernel).read)
			for i, s := range steps {
				at := time.Second + time.Duration(i)*time.Millisecond
				got := convert(t, c, event(0x100, s.cookie, at, s.old, s.new))
				if shown := len(got) > 0; shown != s.shown {
					t.Errorf("step %d, %v to %v: shown %v", i, s.old, s.new, shown)
				}
			}
		})
	}
	// Retransmissions are alike, and each is one.
	c := New(new(fakeKernel).read)
	for i := range 3 {
		if got := convert(t, c, retransmission(0x100, 7, time.Duration(i+1)*time.Second, synSent)); len(got) != 1 {
			t.Errorf("retransmission %d is shown %d times", i, len(got))
		}
	}
	// Where the kernel side filters, what came in between is not known.
	c.Parts = true
	for i := range 2 {
		if got := convert(t, c, event(0x100, 7, time.Duration(i+9)*time.Second, synSent, established)); len(got) != 1 {
			t.Errorf("transition %d is shown %d times", i, len(got))
		}
	}
}
