package transition

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// How a connect failed is told where it fails, and nowhere else.
func TestOutcome(t *testing.T) {
	failed := func(errno unix.Errno, port uint16) flow.Event {
		e := withPort(event(1, 7, 1, synSent, closed), port)
		e.Err = int32(errno)
		return e
	}
	tests := []struct {
		name  string
		event flow.Event
		want  finding.Outcome
	}{
		{"refused", failed(unix.ECONNREFUSED, 5000), finding.OutcomeRefused},
		{"timed out", failed(unix.ETIMEDOUT, 5000), finding.OutcomeTimedOut},
		{"unreachable", failed(unix.EHOSTUNREACH, 5000), finding.OutcomeUnreachable},
		{"canceled", failed(0, 5000), finding.OutcomeCanceled},
		{"without a port", failed(0, 0), finding.OutcomePortExhausted},
		{"a success", event(1, 7, 1, synSent, established), finding.OutcomeNone},
		{"a close", event(1, 7, 1, lastAck, closed), finding.OutcomeNone},
		{"a beginning", withPort(event(1, 7, 1, closed, synSent), 0), finding.OutcomeNone},
		{"a retransmission", retransmission(1, 7, 1, synSent), finding.OutcomeNone},
	}
	for _, tt := range tests {
		c := New(new(fakeKernel).read)
		if got := convert(t, c, tt.event)[0].Outcome; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
