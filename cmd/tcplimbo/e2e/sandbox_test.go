package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// trouble leaves out the diagnostics that only say how the agent runs.
func trouble(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.Contains(line, `"level":"info"`) })
}

// threadStatus returns what /proc says of each thread of the agent.
func (a *agent) threadStatus() (all []string) {
	a.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", a.cmd.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil {
			all = append(all, string(text))
		}
	}
	return all
}

func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestSandbox: once it runs, the agent holds no more than it needs, in all threads, and
// does its work: other users' programs are named, causes of SYNs are found, a log file is
// rotated, namespaces are seen.
func TestSandbox(t *testing.T) {
	const allowed = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYSLOG | 1<<unix.CAP_DAC_READ_SEARCH |
		1<<unix.CAP_CHECKPOINT_RESTORE
	for _, withFile := range []bool{false, true} {
		t.Run(fmt.Sprintf("log file %v", withFile), func(t *testing.T) {
			s := newScene(t)
			log := filepath.Join(t.TempDir(), "limbo.json")
			var args []string
			if withFile {
				args = []string{"--log-file", log, "--log-file-max-size", "64KiB"}
			}
			a := startRun(t, args...)
			a.says("privileges given up")
			threads := a.threadStatus()
			for _, status := range threads {
				for _, set := range []string{"CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"} {
					var bits uint64
					if _, err := fmt.Sscanf(statusField(status, set), "%x", &bits); err != nil {
						t.Fatalf("%s of a thread: %v", set, err)
					}
					if more := bits &^ allowed; more != 0 {
						t.Errorf("%s has %#x beyond what is needed", set, more)
					}
				}
				if nnp, mode := statusField(status, "NoNewPrivs"), statusField(status, "Seccomp"); nnp != "1" || mode != "2" {
					t.Errorf("NoNewPrivs %s, Seccomp %s", nnp, mode)
				}
			}
			if len(threads) == 0 {
				t.Fatal("the agent has no threads")
			}
			ns := s.namespace(false)
			s.make(workload.Spec{Kind: workload.CloseWaitUnread, NS: ns, Count: 3})
			s.make(workload.Spec{Kind: workload.SynSent, Count: 2})
			other := s.leaker("limbo-other", &syscall.SysProcAttr{
				Credential:  &syscall.Credential{Uid: 12345, Gid: 12345},
				AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}, // the child makes its sockets by TCP_REPAIR
			})
			r := a.opens(other)
			if r.str("process.executable.name") != "limbo-other" || r.num("process.user.id") != 12345 || !strings.HasSuffix(r.str("process.executable.path"), "/limbo-other") {
				t.Errorf("another user's program is not named: %s", r.line)
			}
			s.waitOpen(a, 20*time.Second)
			if withFile {
				a.rotates(log)
			}
			a.stop(syscall.SIGTERM)
			s.audit(a, false)
		})
	}
}

// rotates moves the log file away, as logrotate does.
func (a *agent) rotates(log string) {
	a.t.Helper()
	if err := os.Rename(log, log+".moved"); err != nil {
		a.t.Fatal(err)
	}
	if err := a.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		a.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(log); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.t.Errorf("the log file is not made anew\n%s", strings.Join(a.diagnostics(), "\n"))
}
