package explain

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// What the socket alone tells, as where nothing of limits and clock was read. The
// rest is tested in deadline.
func TestGivesUp(t *testing.T) {
	unknown := finding.GivesUp{}
	never := finding.GivesUp{Known: true, Never: true}
	tests := []struct {
		name string
		sock flow.Sock
		want finding.GivesUp
	}{
		{"forgotten", flow.Sock{State: flow.StateCloseWait}, never},
		{"forgotten, with keepalive", flow.Sock{State: flow.StateCloseWait, Keepalive: true}, unknown},
		{"forgotten, data in flight", flow.Sock{State: flow.StateCloseWait, SndNxt: 100, WriteSeq: 100}, unknown},
		{"forgotten, data waits", flow.Sock{State: flow.StateCloseWait, WriteSeq: 100}, unknown},
		{"forgotten, all acknowledged", flow.Sock{State: flow.StateCloseWait, SndUna: 9, SndNxt: 9, WriteSeq: 9}, never},
		{"forgotten, numbers wrapped", flow.Sock{State: flow.StateCloseWait, SndUna: 1<<32 - 5, SndNxt: 5, WriteSeq: 5}, unknown},

		{"half-closed", flow.Sock{State: flow.StateFinWait2}, never},
		{"half-closed, with keepalive", flow.Sock{State: flow.StateFinWait2, Keepalive: true}, unknown},
		{"a full orphan", flow.Sock{State: flow.StateFinWait2, Dead: true}, unknown},

		{
			"a minisocket",
			flow.Sock{State: flow.StateFinWait2, TimeWait: true, Dead: true, Expires: 40 * time.Second},
			finding.GivesUp{Known: true, In: 40 * time.Second},
		},
		{
			"a minisocket at its end",
			flow.Sock{State: flow.StateFinWait2, TimeWait: true, Dead: true},
			finding.GivesUp{Known: true},
		},
		{
			"a minisocket past its end",
			flow.Sock{State: flow.StateFinWait2, TimeWait: true, Dead: true, Expires: -time.Second},
			finding.GivesUp{Known: true},
		},
		{
			"TIME_WAIT",
			flow.Sock{State: flow.StateTimeWait, TimeWait: true, Expires: time.Minute},
			finding.GivesUp{Known: true, In: time.Minute},
		},

		{"a connect", flow.Sock{State: flow.StateSynSent, Expires: time.Second}, unknown},
		{"closing", flow.Sock{State: flow.StateFinWait1, Expires: time.Second}, unknown},
		{"the last FIN", flow.Sock{State: flow.StateLastAck}, unknown},
		{"idle", flow.Sock{State: flow.StateEstablished}, never},
		{"idle, with keepalive", flow.Sock{State: flow.StateEstablished, Keepalive: true}, unknown},
		{"a listener", flow.Sock{State: flow.StateListen}, unknown},
	}
	for _, tt := range tests {
		if got := GivesUp(&tt.sock); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
