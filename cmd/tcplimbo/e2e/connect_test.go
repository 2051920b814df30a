package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// of returns the records of a namespace about connects to an address.
func of(records []*record, ns uint64, peer, status string) (out []*record) {
	to := netip.MustParseAddrPort(peer)
	for _, r := range records {
		if r.finding() && r.tuple().NetNS == ns && r.tuple().Peer == to && r.status() == status {
			out = append(out, r)
		}
	}
	return out
}

// stalledConnect is a connect that is not answered, and what shall be said of it.
type stalledConnect struct {
	to, reason string
	want       map[string]string // more keys, or parts of the message
}

var stalledConnects = []stalledConnect{
	{"198.18.77.2:7001", "dropped_locally", map[string]string{"tcplimbo.drop.reason": "NETFILTER_DROP", "tcplimbo.drop.hook": "output"}},
	{"198.18.77.2:7002", "dropped_locally", map[string]string{"tcplimbo.drop.reason": "NETFILTER_DROP", "tcplimbo.drop.hook": "postrouting"}},
	{"[fd18:77::2]:7001", "dropped_locally", map[string]string{"tcplimbo.drop.reason": "NETFILTER_DROP", "tcplimbo.drop.hook": "output"}},
	{"198.18.77.2:7003", "no_reply", nil},
	{"[fd18:77::2]:7003", "no_reply", nil},
	{"198.18.77.99:7004", "unreachable", map[string]string{"message": "does not answer ARP"}},
	{"[fd18:77::99]:7004", "unreachable", map[string]string{"message": "does not answer neighbour discovery"}},
	{"198.18.77.3:7005", "unreachable", map[string]string{"message": "the route is a black hole"}},
	{"198.18.77.4:7005", "unreachable", map[string]string{"message": "no route to host"}},
	{"198.18.77.2:7010", "listener_overflow", map[string]string{"message": "its queue is full, 2 connections wait and the limit is 1"}},
	{"127.0.0.1:7011", "listener_overflow", map[string]string{"message": "its queue is full, 2 connections wait and the limit is 1"}},
}

// TestWhyConnectsWait: each connect that is not answered gets its reason, and the
// outcome that its end deserves.
func TestWhyConnectsWait(t *testing.T) {
	needTools(t, "nft", "ip")
	s := newScene(t)
	w := newWire(s)
	w.nft(w.near, `table inet t {
	chain o { type filter hook output priority 0; tcp dport 7001 drop; }
	chain p { type filter hook postrouting priority 0; tcp dport 7002 drop; }
}`)
	w.nft(w.far, `table inet t { chain i { type filter hook input priority 0; tcp dport { 7003, 7005 } drop; }; }`)
	w.listen(w.far, 7010, 1)
	w.listen(w.near, 7011, 1)
	a := startRun(t)
	for _, to := range []string{"198.18.77.2:7010", "127.0.0.1:7011"} {
		for range 2 {
			w.connect(to)
		}
	}
	fds := map[string]int{}
	for _, c := range stalledConnects {
		fd, err := w.connect(c.to)
		if !errors.Is(err, unix.EINPROGRESS) {
			t.Fatalf("connecting to %s: %v", c.to, err)
		}
		fds[c.to] = fd
	}
	// These were on their way when the routes changed.
	w.route("198.18.77.3", unix.RTN_BLACKHOLE)
	w.route("198.18.77.4", unix.RTN_UNREACHABLE)
	near, err := w.near.Inode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range stalledConnects {
		if !a.wait(10*time.Second, func(r []*record) bool { return len(of(r, near, c.to, "open")) > 0 }) {
			t.Errorf("no record of the connect to %s", c.to)
			continue
		}
		c.compare(t, of(a.all(), near, c.to, "open")[0])
	}
	for _, to := range []string{"198.18.77.99:7004", "[fd18:77::99]:7004"} {
		w.outcome(a, near, to, "unreachable") // the kernel's own end
	}
	w.nft(w.near, "flush ruleset")
	w.outcome(a, near, "198.18.77.2:7001", "refused")
	w.nft(w.far, "flush ruleset")
	w.outcome(a, near, "198.18.77.2:7003", "refused")
	unix.Close(fds["198.18.77.3:7005"])
	w.outcome(a, near, "198.18.77.3:7005", "canceled")
	a.stop(syscall.SIGTERM)
}

func (c *stalledConnect) compare(t *testing.T, r *record) {
	t.Helper()
	if got := r.str("tcplimbo.finding.reason"); got != c.reason {
		t.Errorf("%s: reason %s, want %s: %s", c.to, got, c.reason, r.line)
	}
	for key, want := range c.want {
		if got := r.str(key); !strings.Contains(got, want) {
			t.Errorf("%s: %s is %q, want %q in it", c.to, key, got, want)
		}
	}
	if dropped := r.has("tcplimbo.drop.netns"); dropped != (c.reason == "dropped_locally") {
		t.Errorf("%s: a drop is told: %v: %s", c.to, dropped, r.line)
	}
	if listener := r.has("tcplimbo.listener.accept_queue"); listener != (c.reason == "listener_overflow") {
		t.Errorf("%s: a listener is told: %v: %s", c.to, listener, r.line)
	}
}

func (w *wire) outcome(a *agent, ns uint64, to, want string) {
	w.t.Helper()
	if !a.wait(20*time.Second, func(r []*record) bool { return len(of(r, ns, to, "resolved")) > 0 }) {
		w.t.Errorf("the connect to %s is not resolved", to)
		return
	}
	if got := of(a.all(), ns, to, "resolved")[0].outcome(); got != want {
		w.t.Errorf("the connect to %s resolved as %s, want %s", to, got, want)
	}
}

// TestReasonOfAConnectChanges: an update is written when the cause comes or goes.
func TestReasonOfAConnectChanges(t *testing.T) {
	needTools(t, "nft", "ip")
	s := newScene(t)
	w := newWire(s)
	near, err := w.near.Inode()
	if err != nil {
		t.Fatal(err)
	}
	w.nft(w.far, `table inet t { chain i { type filter hook input priority 0; tcp dport 7020 drop; }; }`)
	// Updates by time are far away.
	a := startRun(t, "--syn-sent", "2500ms")
	const to = "198.18.77.2:7020"
	w.connect(to)
	if !a.wait(10*time.Second, func(r []*record) bool { return len(of(r, near, to, "open")) > 0 }) {
		t.Fatal("no record")
	}
	if r := of(a.all(), near, to, "open")[0]; r.str("tcplimbo.finding.reason") != "no_reply" {
		t.Fatalf("opened as %s", r.line)
	}
	last := func(reason string) func([]*record) bool {
		return func(records []*record) bool {
			updates := of(records, near, to, "update")
			return len(updates) > 0 && updates[len(updates)-1].str("tcplimbo.finding.reason") == reason
		}
	}
	w.nft(w.near, `table inet t { chain o { type filter hook output priority 0; tcp dport 7020 drop; }; }`)
	if !a.wait(10*time.Second, last("dropped_locally")) {
		t.Error("no update after this host began to drop")
	}
	w.nft(w.near, "flush ruleset")
	if !a.wait(30*time.Second, last("no_reply")) {
		t.Error("no update after this host let the SYN pass again")
	}
	w.nft(w.far, "flush ruleset")
	w.outcome(a, near, to, "refused")
	a.stop(syscall.SIGTERM)
}

// TestPortExhausted: a connect for which no port is free is shown by trace.
func TestPortExhausted(t *testing.T) {
	needTools(t, "ip")
	s := newScene(t)
	w := newWire(s)
	near, err := w.near.Inode()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.near.Sysctl("net/ipv4/ip_local_port_range", "40000 40003"); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, "trace", "-o", "json", "--peer-port", "7030", "--state", "syn_sent")
	exhausted := func(records []*record) bool {
		for _, r := range records {
			if uint64(r.num("tcplimbo.socket.netns")) == near && r.str("tcplimbo.tcp.outcome") == "port_exhausted" {
				return true
			}
		}
		return false
	}
	// trace has no ready file: the ports are used up again and again until it shows it.
	deadline := time.Now().Add(readyTime)
	for !exhausted(a.all()) && time.Now().Before(deadline) {
		w.useUpPorts("198.18.77.99:7030")
		a.wait(200*time.Millisecond, exhausted)
	}
	if !exhausted(a.all()) {
		t.Error("no connect without a port was shown")
	}
	a.stop(syscall.SIGINT)
}

// useUpPorts connects until there is no port, and gives them back.
func (w *wire) useUpPorts(to string) {
	w.t.Helper()
	var fds []int
	for range 20 {
		fd, err := w.connect(to)
		fds = append(fds, fd)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
}
