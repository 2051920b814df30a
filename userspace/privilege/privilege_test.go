package privilege

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// beConfined makes the test binary drop its privileges and tell what it still can: what
// was given up does not come back, so each case takes a process of its own.
const beConfined = "TEST_BE_CONFINED"

func TestMain(m *testing.M) {
	if text := os.Getenv(beConfined); text != "" {
		if err := json.NewEncoder(os.Stdout).Encode(confined(text)); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// report is what a confined process saw.
type report struct {
	Dropped Dropped
	Err     string
	// Threads are the states of all threads, as in /proc, each once.
	Threads []string
	// Tried are the errors of what was tried, by what that was; "" if it worked.
	Tried map[string]string
}

func confined(text string) (r report) {
	var in struct {
		Needs Needs
		Dir   string
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		panic(err)
	}
	old, err := os.OpenFile(filepath.Join(in.Dir, "open"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	// Threads that exist already must be confined too.
	stop := make(chan struct{})
	for range 4 {
		go func() {
			runtime.LockOSThread()
			<-stop
		}()
	}
	d, err := Drop(in.Needs)
	r.Dropped, r.Tried = d, map[string]string{}
	if err != nil {
		r.Err = err.Error()
	}
	r.Threads = threadStates()
	try := func(what string, err error) {
		r.Tried[what] = ""
		if err != nil {
			r.Tried[what] = err.Error()
			var errno syscall.Errno
			if errors.As(err, &errno) {
				r.Tried[what] = unix.ErrnoName(errno)
			}
		}
	}
	call := func(nr uintptr, args ...uintptr) error {
		args = append(args, 0, 0, 0, 0, 0, 0)
		if _, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]); errno != 0 {
			return errno
		}
		return nil
	}
	_, err = old.WriteString("x")
	try("write open file", err)
	try("create", os.WriteFile(filepath.Join(in.Dir, "new"), nil, 0o600))
	try("overwrite", os.WriteFile(filepath.Join(in.Dir, "there"), []byte("gone"), 0o600))
	try("rename", os.Rename(filepath.Join(in.Dir, "there"), filepath.Join(in.Dir, "else")))
	try("remove", os.Remove(filepath.Join(in.Dir, "else")))
	try("mkdir", os.Mkdir(filepath.Join(in.Dir, "sub"), 0o700))
	try("chmod", os.Chmod(filepath.Join(in.Dir, "open"), 0o777))
	_, err = os.ReadFile(filepath.Join(in.Dir, "open"))
	try("read", err)
	_, err = os.ReadDir("/proc")
	try("list", err)
	_, err = exec.Command("/bin/true").Output()
	try("exec", err)
	try("ptrace", call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid())))
	try("kill other", syscall.Kill(os.Getppid(), 0))
	try("kill self", syscall.Kill(os.Getpid(), 0))
	try("mount", unix.Mount("none", in.Dir, "tmpfs", 0, ""))
	try("unshare", call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER))
	try("clone into namespace", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)))
	try("clone3", call(unix.SYS_CLONE3))
	try("io_uring", call(unix.SYS_IO_URING_SETUP, 1))
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	try("executable memory", err)
	ns, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		panic(err)
	}
	try("enter mount namespace", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	try("listen", err)
	if err == nil {
		_, err = net.Dial("tcp", l.Addr().String())
		try("connect", err)
	}
	close(stop)
	return r
}

func threadStates() []string {
	var states []string
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		var state []string
		for line := range strings.Lines(string(text)) {
			for _, field := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp"} {
				if rest, ok := strings.CutPrefix(line, field+":\t"); ok {
					state = append(state, field+"="+strings.TrimSpace(rest))
				}
			}
		}
		states = append(states, strings.Join(state, " "))
	}
	slices.Sort(states)
	return slices.Compact(states)
}

func confine(t *testing.T, needs Needs, dir string, prefix ...string) report {
	t.Helper()
	in, err := json.Marshal(map[string]any{"Needs": needs, "Dir": dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"there"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("there"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(prefix, self)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), beConfined+"="+string(in))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the confined process: %v\n%s", err, errs.String())
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if r.Err != "" {
		t.Fatalf("dropping: %s", r.Err)
	}
	return r
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// What leads from the agent to the rest of the host is denied in any case.
var deniedAlways = map[string]string{
	"exec": "EPERM", "ptrace": "EPERM", "kill other": "EPERM", "mount": "EPERM", "unshare": "EPERM", "clone into namespace": "EPERM",
	"clone3": "ENOSYS", "io_uring": "EPERM", "executable memory": "EPERM", "enter mount namespace": "EPERM",
}

func (r *report) compare(t *testing.T, want map[string]string) {
	t.Helper()
	for what, got := range r.Tried {
		expected, denied := want[what]
		if always, ok := deniedAlways[what]; ok {
			expected, denied = always, true
		}
		if (denied && got != expected) || (!denied && got != "") {
			t.Errorf("%s: %q, want %q", what, got, expected)
		}
	}
}

func TestReadOnly(t *testing.T) {
	r := confine(t, Needs{}, t.TempDir())
	r.compare(t, map[string]string{
		"create": "EPERM", "overwrite": "EPERM", "rename": "EPERM", "remove": "EPERM", "mkdir": "EPERM", "chmod": "EPERM",
	})
	if !r.Dropped.Filter || !r.Dropped.ReadOnly {
		t.Errorf("got %+v", r.Dropped)
	}
}

func TestWithFiles(t *testing.T) {
	dir := t.TempDir()
	r := confine(t, Needs{Files: []string{filepath.Join(dir, "log")}}, dir)
	r.compare(t, nil)
	if !r.Dropped.Filter || r.Dropped.ReadOnly {
		t.Errorf("got %+v", r.Dropped)
	}
}

// All threads hold the same, and no more than is needed.
func TestCapabilities(t *testing.T) {
	needRoot(t)
	const usualBits = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYSLOG | 1<<unix.CAP_DAC_READ_SEARCH |
		1<<unix.CAP_CHECKPOINT_RESTORE
	mine := t.TempDir()
	others := t.TempDir()
	if err := os.Chown(others, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		needs  Needs
		prefix []string
		want   uint64
	}{
		{"root", Needs{}, nil, usualBits},
		{"root with a log file of its own", Needs{Files: []string{mine + "/log"}}, nil, usualBits},
		{"root with a log file among others'", Needs{Files: []string{others + "/log"}}, nil, usualBits | 1<<unix.CAP_DAC_OVERRIDE},
		{"root that enters namespaces", Needs{Namespaces: true}, nil, usualBits | 1<<unix.CAP_SYS_ADMIN},
		{"sys_admin for bpf", Needs{}, []string{"setpriv", "--inh-caps=-all,+sys_admin", "--bounding-set=-all,+sys_admin,+setpcap"}, 1 << unix.CAP_SYS_ADMIN},
		{"as in a pod", Needs{}, []string{
			"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+bpf,+perfmon,+sys_ptrace,+net_raw",
			"--ambient-caps=-all,+bpf,+perfmon,+sys_ptrace,+net_raw", "--bounding-set=-all,+bpf,+perfmon,+sys_ptrace,+net_raw",
		}, 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := shared(t, tt.prefix)
			r := confine(t, tt.needs, dir, tt.prefix...)
			prefix := fmt.Sprintf("CapPrm=%016x CapEff=%016x", tt.want, tt.want)
			for _, state := range r.Threads {
				if !strings.Contains(state, prefix) || !strings.Contains(state, "CapAmb=0000000000000000 NoNewPrivs=1 Seccomp=2") && tt.prefix == nil {
					t.Errorf("a thread has %s, want %s", state, prefix)
				}
			}
			if len(r.Threads) != 1 {
				t.Errorf("threads differ: %q", r.Threads)
			}
			if tt.prefix == nil && r.Dropped.Gone < 20 {
				t.Errorf("got %+v", r.Dropped)
			}
		})
	}
}

// shared is a directory that another user can use too.
func shared(t *testing.T, prefix []string) string {
	t.Helper()
	if prefix == nil {
		return t.TempDir()
	}
	if _, err := exec.LookPath(prefix[0]); err != nil {
		t.Skipf("%s is missing (util-linux)", prefix[0])
	}
	dir, err := os.MkdirTemp("", "tcplimbo-privilege")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A filter has at most 4,096 instructions (BPF_MAXINSNS), jumps stay inside, and each way
// through it ends.
func TestFilterIsWellFormed(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		f := assemble(policy(readOnly))
		if len(f) > 4096 || f[len(f)-1].Code != unix.BPF_RET|unix.BPF_K {
			t.Errorf("%d instructions, the last one %+v", len(f), f[len(f)-1])
		}
		for i, in := range f {
			if in.Code&7 == unix.BPF_JMP && i+1+int(max(in.Jt, in.Jf)) >= len(f) {
				t.Errorf("instruction %d jumps out", i)
			}
		}
		seen := map[uint32]bool{}
		for _, r := range policy(readOnly) {
			if seen[r.nr] {
				t.Errorf("call %d has two rules; the second has no effect", r.nr)
			}
			seen[r.nr] = true
		}
	}
}
