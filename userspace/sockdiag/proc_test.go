package sockdiag

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func TestParseInode(t *testing.T) {
	for text, want := range map[string]uint64{
		"socket:[4711]": 4711, "socket:[0]": 0, "socket:[]": 0, "socket:[12": 0, "socket:[1x]": 0, "pipe:[4]": 0, "": 0, "socket:": 0,
		"socket:[99999999999999999999999]": 0, "socket:[-1]": 0,
	} {
		got, ok := parseInode([]byte(text), "socket")
		if got != want && ok || ok != (want > 0 || text == "socket:[0]") {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
}

func TestMounts(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "self"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "22 1 0:20 / / rw - overlay overlay rw,lowerdir=" + strings.Repeat("/very/long", 20_000) + "\n" +
		"25 22 0:4 net:[4026532281] /run/netns/a\\040b rw - nsfs nsfs rw\n" +
		"26 22 0:4 mnt:[4026532282] /run/mnt rw - nsfs nsfs rw\nnonsense\n"
	if err := os.WriteFile(filepath.Join(root, "self", "mountinfo"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &spaces{root: root, own: 1}
	s.refresh()
	if len(s.order) != 2 || s.paths[4026532281] != "/run/netns/a b" {
		t.Errorf("got %v", s.paths)
	}
}

func FuzzProc(f *testing.F) {
	f.Add([]byte("Name:\tx\nUid:\t1\t2\t3\t4\n"))
	f.Add([]byte("\nUid:"))
	f.Add([]byte("net:[4026532281]"))
	f.Add([]byte("a\\040b"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		parseUser(text)
		unescape(string(text))
		parseInode(text, "net")
	})
}

func TestTask(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "1"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Source{root: root}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, "1", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("stat", "1 (a) b) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 4711 1 1\n")
	write("status", "Name:\tx\nUid:\t7\t8\t9\t9\n")
	want := flow.Task{PID: 1, TID: 1, UID: 7, Comm: "a) b", StartBoot: 47110 * time.Millisecond}
	if got, ok := s.task("1"); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if got, ok := s.task("2"); ok {
		t.Errorf("a process that is gone is %+v", got)
	}
	write("status", "Name:\tx\n")
	if got, ok := s.task("1"); ok {
		t.Errorf("a process of no user is %+v", got)
	}
}
