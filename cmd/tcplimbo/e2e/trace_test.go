package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// transitionsOf is what each churned connection does, both ends.
var transitionsOf = [...]string{
	"closed→syn_sent", "syn_sent→established", "established→fin_wait_1", "fin_wait_1→fin_wait_2", "fin_wait_2→closed",
	"listen→syn_received", "syn_received→established", "established→close_wait", "close_wait→last_ack", "last_ack→closed",
}

// TestTrace: every transition of every connection is shown, exactly once and
// with its addresses.
func TestTrace(t *testing.T) {
	const connections = 4_000
	s := newScene(t)
	warm, busy := s.namespace(false), s.namespace(false)
	// Other people's connections are mostly IPv4; they are left out in the
	// kernel, so that reading them is not what this test waits for.
	a := startAgent(t, "trace", "-o", "json", "-6")
	// trace has no ready file: it is ready when it shows a connection.
	shown := func(records []*record) bool { return len(s.transitions(records, warm)) > 0 }
	for begin := time.Now(); !a.wait(100*time.Millisecond, shown); {
		if time.Since(begin) > readyTime {
			t.Fatal("trace shows nothing")
		}
		s.churnIn(context.Background(), workload.ChurnSpec{Connections: 1, Family: workload.IPv6, NS: warm})
	}
	s.churnIn(context.Background(), workload.ChurnSpec{Connections: connections, Threads: 2, Family: workload.IPv6, NS: busy})
	const want = connections * len(transitionsOf)
	a.wait(90*time.Second, func(r []*record) bool { return len(r) >= want && len(s.transitions(r, busy)) >= want })
	a.stop(syscall.SIGINT)

	count := map[string]int{}
	wrong := problems{t: t}
	shownOnce := map[string]string{}
	for _, r := range s.transitions(a.all(), busy) {
		from, to := r.str("tcplimbo.tcp.state.previous"), r.str("network.connection.state")
		count[from+"→"+to]++
		once := r.str("tcplimbo.socket.cookie") + from + to
		if other, twice := shownOnce[once]; twice && from != "listen" {
			wrong.add("shown twice: "+from+"→"+to, r.line+" and before "+other)
		}
		shownOnce[once] = r.line
		if r.num("network.peer.port") == 0 && from != "listen" {
			wrong.add("no peer port in "+from+"→"+to, r.line)
		}
		// The kernel chooses the port of a connecting socket after it has
		// told of SYN_SENT (net/ipv4/tcp_ipv4.c, tcp_v4_connect).
		if r.num("network.local.port") == 0 && to != "syn_sent" {
			wrong.add("no local port in "+from+"→"+to, r.line)
		}
	}
	for _, tr := range transitionsOf {
		if count[tr] != connections {
			t.Errorf("%s was shown %d times, want %d", tr, count[tr], connections)
		}
		delete(count, tr)
	}
	if len(count) > 0 {
		t.Errorf("transitions that did not happen: %v", count)
	}
	if n := losses(a.all()); n > 0 {
		t.Errorf("%d records were lost", n)
	}
	wrong.report()
}

// transitions returns the records of a namespace, those of the workload's
// listeners left out.
func (s *scene) transitions(records []*record, ns *workload.Namespace) (out []*record) {
	inode, err := ns.Inode()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range records {
		from, to := r.str("tcplimbo.tcp.state.previous"), r.str("network.connection.state")
		listener := to == "listen" || from == "listen" && to == "closed"
		if from != "" && !listener && uint64(r.num("tcplimbo.socket.netns")) == inode {
			out = append(out, r)
		}
	}
	return out
}
