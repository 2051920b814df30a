package explain

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// The rules are tested in deadline; here, that each answer becomes what a finding
// says.
func TestGivesUp(t *testing.T) {
	tests := []struct {
		name string
		sock flow.Sock
		want finding.GivesUp
	}{
		{"ends", flow.Sock{State: flow.StateFinWait2, TimeWait: true, Expires: 3 * time.Second}, finding.GivesUp{Known: true, In: 3 * time.Second}},
		{"never", flow.Sock{State: flow.StateCloseWait, Expires: -1}, finding.GivesUp{Known: true, Never: true}},
		{"depends on the peer", flow.Sock{State: flow.StateCloseWait, Keepalive: true, Expires: -1}, finding.GivesUp{}},
	}
	for _, tt := range tests {
		if got := GivesUp(&tt.sock); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
