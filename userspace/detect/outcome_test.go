package detect

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestOutcome(t *testing.T) {
	const none = 0
	tests := []struct {
		old, now flow.State
		errno    unix.Errno
		want     finding.Outcome
	}{
		{flow.StateSynSent, flow.StateEstablished, none, finding.OutcomeEstablished},
		{flow.StateSynSent, flow.StateEstablished, unix.EHOSTUNREACH, finding.OutcomeEstablished},
		{flow.StateSynSent, flow.StateClose, none, finding.OutcomeCanceled},
		{flow.StateSynSent, flow.StateClose, unix.ECONNREFUSED, finding.OutcomeRefused},
		{flow.StateSynSent, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},
		{flow.StateSynSent, flow.StateClose, unix.EHOSTUNREACH, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.ENETUNREACH, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.EHOSTDOWN, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.ENETDOWN, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.ENOPROTOOPT, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.EACCES, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.EPERM, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.ECONNRESET, finding.OutcomeReset},
		{flow.StateSynSent, flow.StateClose, unix.ECONNABORTED, finding.OutcomeDestroyed},
		{flow.StateSynSent, flow.StateClose, unix.EINVAL, finding.OutcomeUnreachable},
		{flow.StateSynSent, flow.StateClose, unix.ENOBUFS, finding.OutcomeUnknown},
		{flow.StateSynSent, flow.StateSynRecv, none, finding.OutcomeUnknown},

		{flow.StateCloseWait, flow.StateLastAck, none, finding.OutcomeClosed},
		// sk_err may be set long before and is not why this state ends.
		{flow.StateCloseWait, flow.StateLastAck, unix.EPIPE, finding.OutcomeClosed},
		{flow.StateCloseWait, flow.StateClose, none, finding.OutcomeClosed},
		{flow.StateCloseWait, flow.StateClose, unix.EPIPE, finding.OutcomeReset},
		{flow.StateCloseWait, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},
		{flow.StateCloseWait, flow.StateClose, unix.ECONNABORTED, finding.OutcomeDestroyed},
		{flow.StateCloseWait, flow.StateEstablished, none, finding.OutcomeUnknown},

		{flow.StateFinWait2, flow.StateClose, none, finding.OutcomeClosed},
		{flow.StateFinWait2, flow.StateTimeWait, none, finding.OutcomeClosed},
		{flow.StateFinWait2, flow.StateClose, unix.ECONNRESET, finding.OutcomeReset},
		{flow.StateFinWait2, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},

		{flow.StateFinWait1, flow.StateFinWait2, none, finding.OutcomeRecovered},
		{flow.StateFinWait1, flow.StateTimeWait, none, finding.OutcomeClosed},
		{flow.StateFinWait1, flow.StateClose, none, finding.OutcomeClosed},
		{flow.StateFinWait1, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},
		{flow.StateFinWait1, flow.StateEstablished, none, finding.OutcomeUnknown},
		{flow.StateClosing, flow.StateTimeWait, none, finding.OutcomeClosed},
		{flow.StateClosing, flow.StateClose, none, finding.OutcomeClosed},
		{flow.StateClosing, flow.StateEstablished, none, finding.OutcomeUnknown},
		{flow.StateLastAck, flow.StateClose, none, finding.OutcomeClosed},
		{flow.StateLastAck, flow.StateClose, unix.ECONNRESET, finding.OutcomeReset},
		{flow.StateLastAck, flow.StateClose, unix.ETIMEDOUT, finding.OutcomeTimedOut},

		{flow.StateEstablished, flow.StateCloseWait, none, finding.OutcomeClosed},
		{flow.StateListen, flow.StateClose, none, finding.OutcomeUnknown},
		{flow.StateMax + 7, flow.StateMax + 9, none, finding.OutcomeUnknown},
	}
	for _, tt := range tests {
		if got := outcomeOf(tt.old, tt.now, int32(tt.errno)); got != tt.want {
			t.Errorf("outcomeOf(%v, %v, %v) = %v, want %v", tt.old, tt.now, tt.errno, got, tt.want)
		}
	}
}

// Whatever the kernel says, a finding that ends has an outcome with a name.
func TestOutcomeIsNeverNone(t *testing.T) {
	for old := range flow.State(32) {
		for now := range flow.State(32) {
			for _, errno := range []int32{-1 << 31, -1, 0, 1, int32(unix.ETIMEDOUT), 133, 1<<31 - 1} {
				if o := outcomeOf(old, now, errno); o == finding.OutcomeNone || o >= finding.OutcomeCount {
					t.Fatalf("outcomeOf(%v, %v, %d) = %v", old, now, errno, o)
				}
			}
		}
	}
}
