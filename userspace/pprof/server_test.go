package pprof

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// buildServer builds the server, stripped: what it says of itself needs no symbols.
func buildServer(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", bin, "./testdata/server").CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, out)
	}
	return bin
}

// start runs a program that writes one line once it listens, in this thread's
// network namespace.
func start(t *testing.T, bin string, args ...string) (finding.Process, string) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("waiting for the server: %v", err)
	}
	return process(t, uint32(cmd.Process.Pid)), strings.TrimSpace(line)
}

// process is a process as a record names it.
func process(t *testing.T, pid uint32) finding.Process {
	t.Helper()
	stat, err := os.ReadFile(procOf(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := time.ParseDuration(fields[19] + "0ms")
	if err != nil {
		t.Fatal(err)
	}
	return finding.Process{Task: flow.Task{PID: pid, StartBoot: ticks}, Relation: finding.RelationHolder}
}

// patient is for loaded machines: no test is about being quick.
var patient = patience{program: time.Minute, answer: time.Minute, connect: time.Minute}

// asked is a Capture under test, with a clock of its own.
type asked struct {
	*Capture
	now     atomic.Int64
	results chan string
}

func ask(t *testing.T, opts Options) *asked {
	t.Helper()
	a := &asked{results: make(chan string, 100)}
	a.now.Store(time.Now().UnixNano())
	opts.Proc = "/proc"
	opts.Now = func() time.Time { return time.Unix(0, a.now.Load()) }
	opts.Count = func(result string) { a.results <- result }
	opts.Failed = func(err error) { t.Errorf("keeping a profile: %v", err) }
	a.Capture = New(opts)
	a.patience = patient
	go a.Run(t.Context())
	return a
}

// about asks about a connection that the process holds.
func (a *asked) about(p finding.Process, s *finding.Stack) *finding.Goroutines {
	return a.About(&finding.Finding{Owner: finding.Owner{Process: p}, Stack: s})
}

func (a *asked) result(t *testing.T) string {
	t.Helper()
	select {
	case r := <-a.results:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("the program was not asked")
		return ""
	}
}

// told waits until what was asked is told.
func (a *asked) told(t *testing.T, p finding.Process, s *finding.Stack) *finding.Goroutines {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if g := a.about(p, s); g != nil {
			return g
		}
	}
	t.Fatal("nothing is known of the program")
	return nil
}

// stackIn is the stack of an accept or a read in functions of the program.
func stackIn(functions ...string) *finding.Stack {
	s := &finding.Stack{Of: finding.StackEOFRead, Frames: []finding.Frame{{Function: "syscall.read", Plumbing: true}}}
	for _, f := range functions {
		s.Frames = append(s.Frames, finding.Frame{Function: f, File: "main.go", Line: 1})
	}
	return s
}

func checkServer(t *testing.T, p finding.Process, opts Options) *finding.Goroutines {
	t.Helper()
	a := ask(t, opts)
	if g := a.about(p, nil); g != nil {
		t.Errorf("known before it was asked: %+v", g)
	}
	if r := a.result(t); r != ResultOK {
		t.Fatalf("asking: %s", r)
	}
	g := a.told(t, p, stackIn("main.download", "main.main"))
	if g.Function != "main.download" || g.Matching != 3 || g.Parked.Function != "main.upload" || g.Parked.Line != 17 || g.Total < 12 {
		t.Errorf("told %+v", g)
	}
	if g := a.about(p, stackIn("main.upload", "main.main")); g.Function != "main.upload" || g.Matching != 10 {
		t.Errorf("told %+v", g)
	}
	if g := a.about(p, stackIn("main.forgets", "main.main")); g.Function != "main.forgets" || g.Matching != 0 || g.Parked.Function != "" {
		t.Errorf("told %+v of a function that nobody is in", g)
	}
	if g := a.about(p, nil); g.Function != "" || g.Parked.Function != "main.upload" {
		t.Errorf("told %+v without a stack", g)
	}
	// Once a minute.
	a.now.Add(int64(59 * time.Second))
	if g := a.about(p, nil); g.Age != 59*time.Second {
		t.Errorf("age %v", g.Age)
	}
	if len(a.queue) > 0 {
		t.Error("asked again within a minute")
	}
	a.now.Add(int64(2 * time.Second))
	a.about(p, nil)
	if r := a.result(t); r != ResultOK {
		t.Errorf("asking again: %s", r)
	}
	return g
}

func TestServer(t *testing.T) {
	p, addr := start(t, buildServer(t), "127.0.0.1:0")
	dir := filepath.Join(t.TempDir(), "profiles")
	dumps, err := OpenDumps(dir)
	if err != nil {
		t.Fatal(err)
	}
	g := checkServer(t, p, Options{Dumps: dumps})
	b, err := os.ReadFile(filepath.Join(dir, g.Dump))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := read(b); err != nil || d.in["main.upload"].goroutines != 10 {
		t.Errorf("what was kept: %+v, %v", d, err)
	}
	if st, err := os.Stat(filepath.Join(dir, g.Dump)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("kept with %v, %v", st.Mode(), err)
	}
	// The kept profile is one for Go's own tool too.
	if out, err := exec.Command("go", "tool", "pprof", "-top", filepath.Join(dir, g.Dump)).CombinedOutput(); err != nil || !strings.Contains(string(out), "Type: goroutine") {
		t.Errorf("go tool pprof: %v\n%s", err, out)
	}
	checkServer(t, p, Options{Only: netip.MustParseAddrPort(addr)})
	a := ask(t, Options{Only: netip.MustParseAddrPort("127.0.0.1:1")})
	a.about(p, nil)
	if r := a.result(t); r != ResultNoEndpoint {
		t.Errorf("asking where it does not listen: %s", r)
	}
	if g := a.told(t, p, nil); g.Missing != ResultNoEndpoint {
		t.Errorf("told %+v", g)
	}
}

func TestServerOnAllAddresses(t *testing.T) {
	bin := buildServer(t)
	for _, addr := range []string{":0", "0.0.0.0:0", "[::1]:0"} {
		p, at := start(t, bin, addr)
		checkServer(t, p, Options{})
		if port := netip.MustParseAddrPort(at).Port(); addr != "[::1]:0" {
			checkServer(t, p, Options{Only: netip.AddrPortFrom(loopback4, port)})
		}
	}
}

// TestServerElsewhere asks a program in another network namespace, at an address
// that only exists there.
func TestServerElsewhere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	bin := buildServer(t)
	var p finding.Process
	done := make(chan bool)
	// The thread ends with its goroutine and takes the namespace along.
	go func() {
		defer close(done)
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			t.Errorf("making a network namespace: %v", err)
			return
		}
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil {
			err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet([]byte{10, 255, 77, 1})})
		}
		if err != nil {
			t.Errorf("setting up the namespace: %v", err)
			return
		}
		p, _ = start(t, bin, "10.255.77.1:6060")
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	checkServer(t, p, Options{})
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || before != after {
		t.Errorf("this process is in %s, was in %s: %v", after, before, err)
	}
}

func TestOtherPrograms(t *testing.T) {
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	p := process(t, uint32(sleeper.Process.Pid))
	a := ask(t, Options{})
	a.about(p, nil)
	if r := a.result(t); r != ResultNative {
		t.Errorf("asking sleep: %s", r)
	}
	if g := a.about(p, nil); g != nil {
		t.Errorf("told %+v of sleep", g)
	}
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait()
	b := ask(t, Options{})
	b.about(p, nil)
	if r := b.result(t); r != ResultGone {
		t.Errorf("asking what is gone: %s", r)
	}
	for _, unnamed := range []finding.Process{
		{},
		{Task: p.Task, Relation: finding.RelationCloser},
		{Task: flow.Task{PID: p.PID}, Relation: finding.RelationHolder},
	} {
		if g := b.about(unnamed, nil); g != nil || len(b.queue) > 0 {
			t.Errorf("asked about %+v", unnamed)
		}
	}
	var off *Capture
	if g := off.About(&finding.Finding{}); g != nil {
		t.Errorf("told %+v by nobody", g)
	}
}

// A program without net/http/pprof is not asked at its ports.
func TestProgramWithoutPprof(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	const text = `package main

import (
	"fmt"
	"net"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listens")
	c, err := l.Accept()
	panic(fmt.Sprint("somebody came: ", c, err))
}
`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "plain")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, source).CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	p, _ := start(t, bin)
	a := ask(t, Options{})
	a.about(p, nil)
	if r := a.result(t); r != ResultNone {
		t.Errorf("asking: %s", r)
	}
	if g := a.told(t, p, nil); g.Missing != ResultNone {
		t.Errorf("told %+v", g)
	}
}
