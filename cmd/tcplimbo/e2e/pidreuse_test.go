package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// TestReusedPid: who closed an orphan has ended, and its pid belongs to
// somebody else when the orphan is flagged.
func TestReusedPid(t *testing.T) {
	s := newScene(t)
	a := startRun(t, "--fin-wait2", "4s")
	c := s.child(workload.ChildOptions{NS: s.namespace(false)})
	_, truths, err := c.Make(workload.Spec{Kind: workload.FinWait2Orphaned, Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	s.add(truths...)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	reusePid(t, c.PID)
	s.waitOpen(a, 10*time.Second)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
	wrong := problems{t: t}
	for _, tr := range truths {
		for _, r := range byTuple(a.all(), "open")[tr.Tuple()] {
			if r.str("process.executable.name") == "sleep" || r.str("thread.name") == "sleep" || r.has("process.executable.path") {
				wrong.add("the program that has the pid now is named", r.line)
			}
			if r.has("process.pid") {
				wrong.add("the reused pid is named", r.line)
			}
			if r.str("thread.name") == "" || !r.has("process.user.id") || r.str("tcplimbo.process.relation") != "closer" {
				wrong.add("what is known without the pid is left out", r.line)
			}
		}
	}
	wrong.report()
}

// reusePid starts a sleep with the given pid, which must be free.
func reusePid(t *testing.T, pid int) {
	t.Helper()
	const file, tries = "/proc/sys/kernel/ns_last_pid", 500
	for range tries {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid-1)), 0o644); err != nil {
			t.Skipf("a pid cannot be chosen here: %v", err)
		}
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			return
		}
		// Somebody else was faster.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Skipf("pid %d could not be had again in %d tries", pid, tries)
}
