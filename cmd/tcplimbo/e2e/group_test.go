package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// leakerEnv makes the test binary a program that connects so many times from an
// address to another, forgets to close, and holds on until standard input ends.
const leakerEnv = "TCPLIMBO_E2E_LEAKER"

func runLeaker() {
	var from, to string
	var count int
	how, ok := os.LookupEnv(leakerEnv)
	if !ok {
		return
	}
	_, err := fmt.Sscan(how, &from, &to, &count)
	if err == nil {
		err = leak(from, to, count)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: leaking: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// firstPort is that of each process's first socket; each has an address of its own.
const firstPort = 10_000

// leak makes sockets without package net, which would poll them all.
func leak(from, to string, count int) error {
	if _, err := workload.RaiseFileLimit(uint64(count) + 100); err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return err
	}
	source, err := netip.ParseAddr(from)
	if err != nil {
		return err
	}
	for i := range count {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		// The kernel would look long for one that is free.
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4(), Port: firstPort + i}); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
			return err
		}
	}
	return nil
}

// leakers start processes of one program that leak together, and end them.
type leakers struct {
	t     *testing.T
	port  uint16
	procs []*exec.Cmd
	ends  []io.Closer
}

// startLeakers makes count sockets in CLOSE_WAIT, in as many processes as the limit
// of open files asks for.
func startLeakers(t *testing.T, count int) *leakers {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	each := min(20_000, int(min(limit.Max, 1<<20))-500)
	ls := &leakers{t: t, port: uint16(l.Addr().(*net.TCPAddr).Port)}
	t.Cleanup(ls.end)
	var lines []*bufio.Reader
	for n := 0; n < count; n += each {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=127.0.1.%d %s %d", leakerEnv, 1+n/each, l.Addr(), min(each, count-n)))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ls.procs, ls.ends = append(ls.procs, cmd), append(ls.ends, stdin)
		lines = append(lines, bufio.NewReader(stdout))
	}
	for i, r := range lines {
		if line, err := r.ReadString('\n'); line != "ready\n" {
			t.Fatalf("process %d of %d did not leak: %q, %v", i, len(lines), line, err)
		}
	}
	return ls
}

func (ls *leakers) end() {
	for _, c := range ls.ends {
		_ = c.Close()
	}
	for _, p := range ls.procs {
		_ = p.Wait()
	}
	ls.procs, ls.ends = nil, nil
}

// grouped adds up what an agent said of one kind.
type grouped struct {
	opened, resolved int64 // with records of their own
	hidden, ended    int64 // without, as the last records of the groups say
	lines            int
	last             map[string]*record
}

func (g *grouped) open() int64 { return g.opened + g.hidden - g.resolved - g.ended }

// closeWaits counts the sockets in CLOSE_WAIT that a port's listener closed, as the
// kernel lists them.
func closeWaits(t *testing.T, port uint16) (n int64) {
	t.Helper()
	// Not /proc/net: that is the main thread's, which another test may have left in a
	// namespace of its own.
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == "08" && strings.HasSuffix(f[2], want) {
			n++
		}
	}
	return n
}

func addUp(records []*record, port uint16) grouped {
	g := grouped{last: map[string]*record{}}
	for _, r := range records {
		if r.num("network.peer.port") != int64(port) || r.str("tcplimbo.finding.kind") != "close_wait_silent" {
			continue
		}
		g.lines++
		switch {
		case r.event() == "tcplimbo.group":
			g.last[r.str("tcplimbo.group.id")] = r
		case r.status() == "open":
			g.opened++
		case r.status() == "resolved":
			g.resolved++
		}
	}
	for _, r := range g.last {
		g.hidden += r.num("tcplimbo.group.opened")
		g.ended += r.num("tcplimbo.group.resolved")
	}
	return g
}

// mostMB is twice what an agent took that watched 100,000 findings (199 MB).
const mostMB = 400

// groupTime is within what the counts of a group are true: it is told once a minute
// as long as they change, and a loaded machine takes its time to look at so many.
const groupTime = 4 * time.Minute

// TestGroup: 100,000 sockets of one leak (30,000 under the race detector) are a few records that add up, and so they
// do when all are closed.
func TestGroup(t *testing.T) {
	const above = 20
	count := 100_000
	if underRace {
		count = 30_000
	}
	needBPF(t)
	a := startRun(t, "--fin-wait2", "0", "--closing", "0", "--syn-sent", "0", "--group-above", fmt.Sprint(above))
	begin := time.Now()
	ls := startLeakers(t, count)
	t.Logf("%d sockets leaked in %s", count, time.Since(begin).Round(time.Millisecond))
	g, truth := grouped{}, int64(0)
	for deadline := time.Now().Add(groupTime); ; time.Sleep(3 * time.Second) {
		// A few never come to CLOSE_WAIT, or are reset there: the listener's queue or
		// the host's orphans were too many (tcp_max_orphans).
		g, truth = addUp(a.all(), ls.port), closeWaits(t, ls.port)
		if g.open() == truth && truth > int64(count)*9/10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are open, and there are %d", g.open(), truth)
		}
	}
	if g.opened != above || len(g.last) != 1 {
		t.Errorf("%d opened with records of their own and %d groups, want %d and 1", g.opened, len(g.last), above)
	}
	for _, r := range g.last {
		t.Logf("%s", r.line)
		if r.num("tcplimbo.group.count") != truth || r.str("network.peer.address") != "127.0.0.1" || r.has("process.pid") {
			t.Errorf("the group is %s", r.line)
		}
	}
	if mb := residentMB(t, a.cmd.Process.Pid); mb > mostMB {
		t.Errorf("the agent has %d MB, want %d at most", mb, mostMB)
	}
	ls.end()
	if !a.wait(groupTime, func(r []*record) bool { g := addUp(r, ls.port); return g.open() == 0 }) {
		g := addUp(a.all(), ls.port)
		t.Fatalf("%d are open, want none", g.open())
	}
	a.stop(syscall.SIGTERM)
	g = addUp(a.all(), ls.port)
	minutes := int(time.Since(begin).Minutes()) + 1
	t.Logf("%d lines in %s", g.lines, time.Since(begin).Round(time.Second))
	// What has records of its own opens, is updated at doubling intervals from 2 s
	// on, and resolves.
	if most := above*(2+6) + 7*minutes; g.lines > most {
		t.Errorf("%d lines, want %d at most", g.lines, most)
	}
	for _, r := range g.last {
		if r.str("tcplimbo.group.status") != "resolved" || r.num("tcplimbo.group.count") != 0 {
			t.Errorf("at the end the group is %s", r.line)
		}
	}
}

// residentMB is what a process has of memory.
func residentMB(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kb := 0
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kb / 1024
}
