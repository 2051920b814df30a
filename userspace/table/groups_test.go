package table

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestGroups(t *testing.T) {
	service := netip.MustParseAddrPort("10.0.0.5:443")
	groups := []finding.Group{
		{Count: 1200, Oldest: time.Hour, Kind: finding.CloseWaitSilent, Process: finding.Process{Task: flow.Task{PID: 7}, Executable: "api\n"}},
		{Count: 9, Oldest: time.Second, AtLeast: true, Kind: finding.SynSentStalled, Process: finding.Process{Executable: "api"}},
		{Count: 8, Kind: finding.SynSentStalled, Role: flow.RoleClient, Service: service},
		{Count: 7, Kind: finding.SynSentStalled, Role: flow.RoleServer, Service: service},
		{Count: 6, Kind: finding.SynSentStalled, Workload: &finding.Workload{Namespace: "shop", Pod: "cart-0"}},
		{Count: 5, Kind: finding.SynSentStalled, Stack: &finding.Stack{Frames: []finding.Frame{
			{Function: "net.Dial", Plumbing: true}, {Function: "main.leak", File: "/src/x.go", Line: 7}, {Module: "libc.so", Offset: 16},
		}}},
		{Count: 5, Kind: finding.SynSentStalled, Stack: &finding.Stack{Missing: finding.MissingProcessGone}},
		{Count: 4, Oldest: -1, AtLeast: true},
	}
	want := `COUNT  OLDEST  KIND               PROCESS
 1200    1h0m  close_wait_silent  api\x0a[7]
    9     1s+  syn_sent_stalled   api
    8     0ms  syn_sent_stalled   10.0.0.5:443
    7     0ms  syn_sent_stalled   serves 10.0.0.5:443
    6     0ms  syn_sent_stalled   shop/cart-0
    5     0ms  syn_sent_stalled   main.leak (x.go:7) < libc.so+0x10
    5     0ms  syn_sent_stalled   no stack: process_gone
    4       -  -                  -
`
	if got := string(AppendGroups(nil, groups, "process", Options{})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
