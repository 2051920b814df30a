package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// The two ends of the veth pair.
var (
	nearPrefixes = []string{"198.18.77.1/24", "fd18:77::1/64"}
	farPrefixes  = []string{"198.18.77.2/24", "198.18.77.3/24", "198.18.77.4/24", "fd18:77::2/64"}
)

// wire is two network namespaces with a veth pair between them.
type wire struct {
	t         *testing.T
	near, far *workload.Namespace
}

func newWire(s *scene) *wire {
	s.t.Helper()
	w := &wire{t: s.t, near: s.namespace(true), far: s.namespace(true)}
	w.in(w.near, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"})
	})
	w.in(w.near, func() error {
		// The name is one of /run/netns, where this thread finds it too.
		out, err := exec.Command("ip", "link", "set", "far", "netns", w.far.Name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("moving the far end: %w: %s", err, out)
		}
		return setUp("near", nearPrefixes)
	})
	w.in(w.far, func() error { return setUp("far", farPrefixes) })
	return w
}

// in runs fn in a namespace.
func (w *wire) in(ns *workload.Namespace, fn func() error) {
	w.t.Helper()
	if err := ns.Do(fn); err != nil {
		w.t.Fatal(err)
	}
}

func setUp(name string, prefixes []string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		a := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		}}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("adding %s: %w", p, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// nft loads rules in a namespace.
func (w *wire) nft(ns *workload.Namespace, rules string) {
	w.t.Helper()
	w.in(ns, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("loading rules: %w: %s", err, out)
		}
		return nil
	})
}

// route adds a route of the near end to a single address.
func (w *wire) route(to string, kind int) {
	w.t.Helper()
	a := netip.MustParseAddr(to)
	w.in(w.near, func() error {
		dst := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Type: kind})
	})
}

// connect begins to connect and gives the descriptor; errno is what it says at once.
func (w *wire) connect(to string) (fd int, errno error) {
	w.t.Helper()
	addr := netip.MustParseAddrPort(to)
	w.in(w.near, func() error {
		domain := unix.AF_INET6
		var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
		if addr.Addr().Is4() {
			domain, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
		}
		var err error
		if fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		errno = unix.Connect(fd, sa)
		return nil
	})
	w.t.Cleanup(func() { unix.Close(fd) })
	return fd, errno
}

// listen opens a listener at the far end that nobody accepts from, for so many.
func (w *wire) listen(ns *workload.Namespace, port, backlog int) {
	w.t.Helper()
	fd := -1
	w.in(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
	w.t.Cleanup(func() { unix.Close(fd) })
}

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("REQUIRE_BPF") == "1" {
				t.Fatalf("%v, and REQUIRE_BPF=1 forbids to skip", err)
			}
			t.Skip(err)
		}
	}
}

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
