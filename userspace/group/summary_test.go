package group

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestSummarize(t *testing.T) {
	cart := &finding.Workload{ContainerID: "c1", Namespace: "shop", Pod: "cart-0", PodUID: "u1"}
	sidecar := &finding.Workload{ContainerID: "c2", Namespace: "shop", Pod: "cart-0", PodUID: "u1"}
	var rows []finding.Finding
	for n := range 6 {
		f := leaked(n, time.Duration(n+1)*time.Second)
		f.Workload = cart
		if n >= 2 {
			f.Owner.Process.PID = 813
			f.Sock.Peer = netip.MustParseAddrPort("10.0.0.6:443")
		}
		if n >= 4 {
			f.Workload = sidecar
			f.Owner.Process.Path, f.Owner.Process.Executable = "/srv/proxy", "proxy"
		}
		rows = append(rows, f)
	}
	rows[5].Sock.Role, rows[5].Sock.Local = flow.RoleServer, netip.MustParseAddrPort("10.0.0.1:80")
	for by, want := range map[By][]int{
		ByProcess: {4, 2}, ByPeer: {3, 2, 1}, ByPod: {6}, ByStack: {6},
	} {
		var counts []int
		for _, g := range Summarize(rows, by) {
			counts = append(counts, g.Count)
		}
		if !slices.Equal(counts, want) {
			t.Errorf("by %s: %v, want %v", by, counts, want)
		}
	}
	for i := range rows {
		rows[i].Stack = &finding.Stack{Missing: []string{finding.MissingOlder, finding.MissingProcessGone}[min(i, 1)]}
	}
	if why := Summarize(rows, ByStack); len(why) != 2 || why[0].Count != 5 || why[0].Stack.Missing != finding.MissingProcessGone {
		t.Errorf("without stacks: %+v", why)
	}
	api := Summarize(rows, ByProcess)[0]
	if api.Process.Executable != "api" || api.Process.PID != 0 || api.Oldest != 4*time.Second || !api.AtLeast {
		t.Errorf("the first is %+v", api)
	}
	for _, f := range []finding.Finding{{Duration: -1}, leaked(9, time.Second)} {
		f.SinceExact = f.Duration > 0
		if g := Summarize([]finding.Finding{f}, ByProcess)[0]; g.Oldest != f.Duration || g.AtLeast == f.SinceExact {
			t.Errorf("of one: %+v", g)
		}
	}
	b := newBench(t, 2)
	for _, f := range rows {
		b.opens(f)
	}
	open := b.g.Summary(ByProcess, b.now+time.Second)
	if len(open) != 2 || open[0].Count != 4 || open[0].Oldest != 5*time.Second {
		t.Errorf("open are %+v", open)
	}
}
