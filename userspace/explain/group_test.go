package explain

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestGroupMessage(t *testing.T) {
	api := finding.Process{Task: flow.Task{PID: 812}, Executable: "api", Relation: finding.RelationHolder}
	service := netip.MustParseAddrPort("10.0.0.5:443")
	for want, g := range map[string]finding.Group{
		"140 sockets in CLOSE_WAIT of api (pid 812) to 10.0.0.5:443, the oldest for 31s; 120 of them have no records of their own": {
			Kind: finding.CloseWaitSilent, Count: 140, Opened: 120, Oldest: 31 * time.Second, Process: api, Role: flow.RoleClient, Service: service,
		},
		"21 sockets in FIN_WAIT2 of api (pid 812) in pod shop/cart-0 that serves 10.0.0.5:443, the oldest for 1s; 7 fewer a minute; 1 of them have no records of their own": {
			Kind: finding.FinWait2Dangling, Status: finding.Update, Count: 21, Opened: 3, Resolved: 2, Oldest: time.Second, Process: api,
			Role: flow.RoleServer, Service: service, Grown: -8, GrownIn: 67 * time.Second, Growth: -7.2, GrowthKnown: true, Workload: &finding.Workload{Namespace: "shop", Pod: "cart-0"},
		},
		"35 sockets in SYN_SENT, the oldest for at least 9s; 15 more in 10s": {
			Kind: finding.SynSentStalled, Status: finding.Update, Count: 35, Oldest: 9 * time.Second, AtLeast: true, Grown: 15, GrownIn: 10 * time.Second,
		},
		"all 120 sockets in SYN_SENT that had no records of their own ended": {Kind: finding.SynSentStalled, Status: finding.Resolved, Opened: 120, Resolved: 120},
		"1 socket closing that had no records of their own ended":            {Kind: finding.ClosingStalled, Status: finding.Resolved, Opened: 1, Resolved: 1},
		"3 sockets without a finding":                                        {Count: 3, Oldest: -1, AtLeast: true},
		"2 sockets ESTABLISHED without progress, the oldest for 2s":          {Kind: finding.EstablishedStalled, Count: 2, Oldest: 2 * time.Second},
	} {
		if got := GroupMessage(&g); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
