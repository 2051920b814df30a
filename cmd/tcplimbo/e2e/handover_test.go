package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// row is a socket of a process's network namespace, as /proc shows it.
type row struct {
	local, peer, state uint64
	inode              string
}

func tableOf(t *testing.T, pid int) []row {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, line := range strings.Split(string(text), "\n")[1:] {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		var r row
		for at, number := range map[string]*uint64{f[1][9:]: &r.local, f[2][9:]: &r.peer, f[3]: &r.state} {
			if *number, err = strconv.ParseUint(at, 16, 16); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
		}
		r.inode = f[9]
		rows = append(rows, r)
	}
	return rows
}

// inProc returns who holds a socket, as the links in /proc say.
func inProc(t *testing.T, inode string) []holding {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []holding
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		part := strings.Split(link, "/")
		pid, err1 := strconv.Atoi(part[2])
		fd, err2 := strconv.Atoi(part[4])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", link, err1, err2)
		}
		all = append(all, holding{pid, fd})
	}
	return all
}

// portOf returns where a process listens.
func portOf(t *testing.T, pid int) uint64 {
	t.Helper()
	for _, r := range tableOf(t, pid) {
		if hs := inProc(t, r.inode); r.state == unix.BPF_TCP_LISTEN && len(hs) == 1 && hs[0].pid == pid {
			return r.local
		}
	}
	t.Fatal("it does not listen")
	return 0
}

// receive takes a descriptor from whoever sends one to a Unix socket.
func receive(t *testing.T, l *net.UnixListener) int {
	t.Helper()
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data, room := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(data, room)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(room[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	return fds[0]
}

// TestHandover: a connection is accepted, duplicated, inherited, sent to an unrelated
// process, and left by who accepted it and by the child. At each step the holders are
// those that /proc shows; who accepted it is told to the end.
func TestHandover(t *testing.T) {
	s := newScene(t)
	at := marks(t, "testdata/handover.c")["accept"]
	opener := fmt.Sprintf("take_request (handover.c:%d)", at)
	a := startRun(t, "--stacks", "always", "--close-wait", "1s")
	path := filepath.Join(t.TempDir(), "here")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := startProgram(t, buildC(t, "handover.c", "-O2", "-g", "-fno-omit-frame-pointer"), path)
	port := portOf(t, p.pid)
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	from := uint64(c.LocalAddr().(*net.TCPAddr).Port)
	p.do("accept")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var inode string
	for _, r := range tableOf(t, p.pid) {
		if r.local == port && r.peer == from {
			inode = r.inode
		}
	}
	// By its number: the program that it is named by exits before the socket does.
	var ns unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.pid), &ns); err != nil {
		t.Fatal(err)
	}
	filter := []string{"--state", "close_wait", "--port", fmt.Sprint(from), "--netns", fmt.Sprint(ns.Ino)}
	step := func(name string, holders int) []holding {
		t.Helper()
		hs := inProc(t, inode)
		want, _ := sorted(hs)
		if len(hs) != holders {
			t.Errorf("%s: /proc shows %q, want %d holders", name, want, holders)
		}
		for _, r := range listed(t, filter...) {
			if r.holders() != want || r.num("tcplimbo.socket.holders_total") != int64(holders) {
				t.Errorf("%s: holders %q, want %q", name, r.holders(), want)
			}
			return hs
		}
		t.Errorf("%s: it is not listed", name)
		return hs
	}
	byStack := func(name, want string) {
		t.Helper()
		stdout, _ := output(t, append([]string{"list", "-o", "json", "--by", "stack"}, filter...)...)
		if !strings.Contains(stdout, want) {
			t.Errorf("%s: want %s: %s", name, want, stdout)
		}
	}
	named := func(r *record) bool {
		first, _, _ := strings.Cut(r.str("code.stacktrace"), "\n")
		function, place, _ := strings.Cut(first, " (")
		return r.str("tcplimbo.stack.of") == "accept" && function+" ("+place[strings.LastIndexByte(place, '/')+1:] == opener
	}
	// told waits for a record with that status, and the function.
	told := func(status string) {
		t.Helper()
		own := func(r *record) bool { return r.finding() && fmt.Sprint(r.num("tcplimbo.socket.inode")) == inode }
		if !a.wait(30*time.Second, func(all []*record) bool {
			return slices.ContainsFunc(all, func(r *record) bool { return own(r) && r.status() == status && named(r) })
		}) {
			for _, r := range a.all() {
				if own(r) {
					t.Log(r.line)
				}
			}
			t.Errorf("no record with status %s says that %s took it", status, opener)
		}
	}

	step("accepted", 1)
	told("open")
	p.do("dup")
	step("duplicated", 2)
	byStack("duplicated", "take_request")
	p.do("fork")
	inherited := step("inherited", 4)
	child := inherited[slices.IndexFunc(inherited, func(h holding) bool { return h.pid != p.pid })].pid
	defer func() { _ = syscall.Kill(child, syscall.SIGKILL) }()
	p.do("send")
	mine := receive(t, l)
	unrelated := s.child(workload.ChildOptions{})
	kept, err := unrelated.Keep(mine)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(mine); err != nil {
		t.Fatal(err)
	}
	step("sent", 5)
	byStack("sent", "take_request")
	p.do("exit")
	for deadline := time.Now().Add(10 * time.Second); len(inProc(t, inode)) != 3 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	step("its parent exited", 3)
	byStack("its parent exited", `"tcplimbo.stack.missing":"process_gone"`)
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(inProc(t, inode)) != 1 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	step("the child is gone", 1)
	if err := unrelated.CloseFDs(kept...); err != nil {
		t.Fatal(err)
	}
	told("resolved")
}
