package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// holding is a descriptor of a process.
type holding struct{ pid, fd int }

// sorted orders holders as the contract lists them and returns them as it
// writes them.
func sorted(hs []holding) (string, holding) {
	sort.Slice(hs, func(i, j int) bool {
		return hs[i].pid < hs[j].pid || hs[i].pid == hs[j].pid && hs[i].fd < hs[j].fd
	})
	var list []string
	for _, h := range hs {
		list = append(list, fmt.Sprintf("%d/%d", h.pid, h.fd))
	}
	return strings.Join(list, " "), hs[0]
}

// TestHolders: whoever holds the socket when it is flagged is named, however
// the descriptor got there.
func TestHolders(t *testing.T) {
	s := newScene(t)
	a := startRun(t)
	me := os.Getpid()
	one := func() (*workload.Truth, int) {
		set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 5})
		return set.Truths()[0], set.FDs()[0]
	}
	want := make(map[*workload.Truth][]holding)

	forked, fd := one()
	c := s.child(workload.ChildOptions{Inherit: []int{fd}})
	want[forked] = []holding{{me, fd}, {c.PID, workload.InheritedFD(0)}}

	twice, fd := one()
	dup, err := workload.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	want[twice] = []holding{{me, fd}, {me, dup}}

	passed, fd := one()
	receiver := s.child(workload.ChildOptions{})
	kept, err := receiver.Keep(fd)
	if err != nil {
		t.Fatal(err)
	}
	want[passed] = []holding{{me, fd}, {receiver.PID, kept[0]}}

	accepted := s.make(workload.Spec{Kind: workload.CloseWaitUnaccepted, Payload: 5})
	acceptor := s.child(workload.ChildOptions{})
	if kept, err = acceptor.Keep(accepted.ListenerFD()); err != nil {
		t.Fatal(err)
	}
	got, err := acceptor.Accept(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	want[accepted.Truths()[0]] = []holding{{acceptor.PID, got}}

	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
	for tr, hs := range want {
		r := byTuple(a.all(), "open")[tr.Tuple()]
		if len(r) == 0 {
			continue
		}
		list, first := sorted(hs)
		if got := r[0].holders(); got != list {
			t.Errorf("holders %q, want %q", got, list)
		}
		if n := r[0].num("tcplimbo.socket.holders_total"); n != int64(len(hs)) {
			t.Errorf("holders_total %d, want %d", n, len(hs))
		}
		if r[0].pid() != first.pid || r[0].num("tcplimbo.socket.fd") != int64(first.fd) {
			t.Errorf("process %d/%d, want %v", r[0].pid(), r[0].num("tcplimbo.socket.fd"), first)
		}
	}
}

// TestManyHolders: at most 16 are listed, all are counted.
func TestManyHolders(t *testing.T) {
	s := newScene(t)
	set := s.make(workload.Spec{Kind: workload.CloseWaitUnread})
	for range 40 {
		fd, err := workload.Dup(set.FDs()[0])
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	a := startRun(t)
	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	r := byTuple(a.all(), "open")[set.Truths()[0].Tuple()][0]
	if n := len(strings.Fields(r.holders())); n != 16 {
		t.Errorf("%d holders are listed, want 16: %s", n, r.holders())
	}
	if n := r.num("tcplimbo.socket.holders_total"); n != 41 {
		t.Errorf("holders_total %d, want 41", n)
	}
}

// TestHostileNames: what a process calls itself is data.
func TestHostileNames(t *testing.T) {
	s := newScene(t)
	const evil = "x\"\\\n\x1b[31m\u202e\xff{{"
	exe := filepath.Join(t.TempDir(), evil)
	copyFile(t, os.Args[0], exe)
	c := s.child(workload.ChildOptions{Executable: exe})
	if err := c.SetName("\x07\n\x1b]0;\xc3"); err != nil {
		t.Fatal(err)
	}
	_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.add(truths...)
	a := startRun(t)
	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
	r := byTuple(a.all(), "open")[truths[0].Tuple()][0]
	for _, key := range []string{"process.executable.name", "process.executable.path", "thread.name", "message"} {
		for _, c := range r.str(key) {
			if c < 0x20 || c == 0x7f || c == '\u202e' || c >= 0x80 && c < 0xa0 {
				t.Errorf("%s contains %U: %q", key, c, r.str(key))
			}
		}
	}
	if !strings.HasPrefix(r.str("process.executable.name"), `x"\`) {
		t.Errorf("process.executable.name is %q, want it to begin as %q", r.str("process.executable.name"), evil)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOtherPidNamespace: the holder is named by the pid that the agent's
// namespace gives it.
func TestOtherPidNamespace(t *testing.T) {
	s := newScene(t)
	ns := s.namespace(false)
	c := s.child(workload.ChildOptions{NS: ns, Attr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}})
	_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitIgnored, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range truths {
		if tr.PID != 1 {
			t.Errorf("pid %d inside, want 1", tr.PID)
		}
		tr.PID = c.PID
	}
	s.add(truths...)
	a := startRun(t)
	s.waitOpen(a, 10*time.Second)
	s.compare(a)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}
