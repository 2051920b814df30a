package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/privilege"
)

// beProgram makes the test binary be tcplimbo: the tests that need a process of
// its own start themselves with it.
const beProgram = "TEST_BINARY_IS_TCPLIMBO"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) != "" {
		if err := os.Unsetenv(beProgram); err != nil {
			panic(err)
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// program returns a command that runs the real program.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), beProgram+"=1")
	return cmd
}

// fakeKernel answers as a kernel on which all works.
type fakeKernel struct{}

func (fakeKernel) LoadPrograms(context.Context) (lacking, err error) { return nil, nil }

func (fakeKernel) OpenIterators(context.Context) error { return nil }
func (fakeKernel) TellSYNCauses(context.Context) error { return nil }

func (fakeKernel) AskSockDiag(context.Context) (int, string, error) { return 1, "much", nil }

func (fakeKernel) TakeStacks(context.Context) check.StackHooks { return check.StackHooks{} }

// testWorld is a world on which everything works and the commands do nothing.
type testWorld struct {
	world
	out, errs bytes.Buffer
	env       map[string]string
}

func newTestWorld(t *testing.T) *testWorld {
	t.Helper()
	w := &testWorld{env: map[string]string{}}
	w.world = world{
		stdout: &w.out, stderr: &w.errs,
		lookupEnv: func(name string) (string, bool) { v, ok := w.env[name]; return v, ok },
		environ: func() []string {
			var all []string
			for name, value := range w.env {
				all = append(all, name+"="+value)
			}
			return all
		},
		host:   hostWith(t, "000001ffffffffff"),
		kernel: fakeKernel{},

		takeLess:       func() {},
		dropPrivileges: func(privilege.Needs) (privilege.Dropped, error) { return privilege.Dropped{}, nil },
		runAgent:       func(context.Context, *agentInput) error { return nil },

		listSockets:  func(context.Context, *listInput) error { return nil },
		traceSockets: func(context.Context, *traceInput) error { return nil },
	}
	return w
}

func (w *testWorld) run(t *testing.T, args ...string) int {
	t.Helper()
	return execute(t.Context(), append([]string{"tcplimbo"}, args...), &w.world)
}

// hostWith makes up a host whose process has the capabilities.
func hostWith(t *testing.T, caps string) check.Host {
	t.Helper()
	root := t.TempDir()
	names := "\x00btf_trace_inet_sock_set_state\x00btf_trace_tcp_retransmit_skb\x00"
	btf := binary.NativeEndian.AppendUint16(nil, 0xeb9f)
	btf = append(btf, 1, 0)
	for _, n := range []uint32{24, 0, 0, 0, uint32(len(names))} {
		btf = binary.NativeEndian.AppendUint32(btf, n)
	}
	for name, text := range map[string]string{
		"sys/kernel/btf/vmlinux":                string(btf) + names,
		"proc/sys/kernel/seccomp/actions_avail": "errno allow\n",
		"proc/self/status":                      "CapEff:\t" + caps + "\nNSpid:\t1\nSeccomp:\t0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "proc/self/ns"), 0o700); err != nil {
		t.Fatal(err)
	}
	for kind, inode := range map[string]string{"user": "4026531837", "pid": "4026531836", "net": "4026531833"} {
		if err := os.Symlink(kind+":["+inode+"]", filepath.Join(root, "proc/self/ns", kind)); err != nil {
			t.Fatal(err)
		}
	}
	return check.Host{
		Root:         root,
		Release:      func() (string, error) { return "6.18.0", nil },
		MemlockLimit: func() (uint64, error) { return 1 << 40, nil },
	}
}

// oneLine sees that text is exactly one line and returns it.
func oneLine(t *testing.T, text string) string {
	t.Helper()
	line, rest, found := strings.Cut(text, "\n")
	if !found || rest != "" {
		t.Errorf("not exactly one line: %q", text)
	}
	return line
}
