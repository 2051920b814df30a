package jsonline

import (
	"encoding/json"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// What is not known of the other end is left out, and without one everything is.
func TestPeer(t *testing.T) {
	holder := finding.Owner{Process: finding.Process{
		Task: flow.Task{PID: 99, Comm: "worker"}, Executable: "worker\x1b[m", Relation: finding.RelationHolder, FD: 7,
	}}
	nameless := holder
	nameless.Process.Executable = ""
	elsewhere := holder
	elsewhere.Process.Task = flow.Task{} // in a pid namespace that is not shown
	for _, tt := range []struct {
		name                   string
		peer                   *finding.Peer
		state, pid, executable any
	}{
		{"none", nil, nil, nil, nil},
		{"held", &finding.Peer{State: flow.StateCloseWait, Owner: holder}, "close_wait", json.Number("99"), `worker\x1b[m`},
		{"held by what has no program", &finding.Peer{State: flow.StateFinWait2, Owner: nameless}, "fin_wait_2", json.Number("99"), nil},
		{"held elsewhere", &finding.Peer{State: flow.StateCloseWait, Owner: elsewhere}, "close_wait", nil, nil},
		{"orphan", &finding.Peer{State: flow.StateTimeWait, Orphan: true}, "time_wait", nil, nil},
	} {
		f := sinktest.Findings()[0].Finding
		f.Peer = tt.peer
		got := object(t, testEncoder().AppendFinding(nil, &f))
		for key, want := range map[string]any{
			"tcplimbo.peer.state": tt.state, "tcplimbo.peer.pid": tt.pid, "tcplimbo.peer.executable": tt.executable,
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %v, want %v", tt.name, key, got[key], want)
			}
		}
	}
}
