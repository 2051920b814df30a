package workload

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func startChild(t *testing.T, o ChildOptions) *Child {
	t.Helper()
	c, err := StartChild(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ctrl >= 0 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

// socketOf returns what a process has under a descriptor.
func socketOf(t *testing.T, pid, fd int) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		t.Error(err)
	}
	return s
}

func TestChildHoldsWhatItIsGiven(t *testing.T) {
	needRoot(t)
	s := makeSet(t, Spec{Kind: CloseWaitUnread, Count: 2})
	fds := s.FDs()
	want := socketOf(t, os.Getpid(), fds[0])
	c := startChild(t, ChildOptions{Inherit: fds[:1]})
	if got := socketOf(t, c.PID, InheritedFD(0)); got != want {
		t.Errorf("inherited %s, want %s", got, want)
	}
	kept, err := c.Keep(fds...)
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if got := socketOf(t, c.PID, kept[0]); got != want {
		t.Errorf("passed %s, want %s", got, want)
	}
	dup, err := c.Dup(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := socketOf(t, c.PID, dup); got != want {
		t.Errorf("duplicated %s, want %s", got, want)
	}
	if err := c.CloseFDs(dup); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", c.PID, dup)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("descriptor %d is still open: %v", dup, err)
	}
}

func TestChildAccepts(t *testing.T) {
	l, err := listen(nil, IPv4, addrPortOf(IPv4), 8, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c := startChild(t, ChildOptions{})
	kept, err := c.Keep(l.fd)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := l.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(fd)
	got, err := c.Accept(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	if s := socketOf(t, c.PID, got); !strings.HasPrefix(s, "socket:") {
		t.Errorf("accepted %s", s)
	}
	if _, err := c.Accept(got); err == nil {
		t.Error("accepting from a connection succeeded")
	}
}

func TestChildMakes(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	c := startChild(t, ChildOptions{NS: ns})
	if err := c.SetName("evil\n\x1b[31m"); err != nil {
		t.Error(err)
	}
	set, truths, err := c.Make(Spec{Kind: CloseWaitIgnored, Count: truthsPerPacket*2 + 1, Peers: PeersHeld})
	if err != nil {
		t.Fatal(err)
	}
	if len(truths) != 4*truthsPerPacket+2 {
		t.Errorf("%d truths", len(truths))
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", c.PID), &st); err != nil {
		t.Fatal(err)
	}
	if tr := truths[0]; tr.PID != c.PID || tr.NetNS != ns.inode || st.Ino != ns.inode {
		t.Errorf("pid %d netns %d, want %d in %d", tr.PID, tr.NetNS, c.PID, ns.inode)
	}
	checkFD(t, truths[0])
	truths, err = c.End(set, EndClose)
	if err != nil {
		t.Fatal(err)
	}
	if truths[0].Outcome != "closed" {
		t.Errorf("outcome %q", truths[0].Outcome)
	}
	if _, _, err := c.Make(Spec{Kind: "nonsense"}); err == nil {
		t.Error("a bad spec was accepted")
	}
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
}
