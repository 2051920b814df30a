package deploytest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a real systemd with namespaces of its own.
type machine struct {
	boot *daemon
	// init is the pid of systemd.
	init string
	// root is its file system, seen from here.
	root string
}

// bootMachine starts systemd on an overlay of the host's file system; it ends
// with the test, and leaves nothing.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		missing(t, "systemd")
	}
	tool(t, "nsenter")
	group := makeCgroup(t)
	m := &machine{}
	// The shell enters the group first, so that the group is the root of the
	// cgroup namespace and systemd makes its own below.
	m.boot = start(t, "sh", "-c", `echo $$ >"$0/cgroup.procs" && exec unshare --mount --pid --fork --kill-child --cgroup --net --ipc --uts ./boot-systemd "$1"`,
		group, t.TempDir())
	pid := fmt.Sprint(m.boot.Process.Pid)
	until(t, 30*time.Second, func() string {
		children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		m.init = strings.TrimSpace(string(children))
		m.root = "/proc/" + m.init + "/root"
		if m.init == "" {
			return "systemd did not start: " + m.boot.stderr.String()
		}
		if comm, _ := os.ReadFile("/proc/" + m.init + "/comm"); string(comm) != "systemd\n" {
			return "the first process is not systemd yet: " + m.boot.stderr.String()
		}
		if out, err := m.try("systemctl", "is-active", "basic.target"); err != nil {
			return "systemd is not up: " + out
		}
		return ""
	})
	// systemd takes SIGTERM for "start anew"; its namespaces end with it.
	t.Cleanup(func() {
		_ = m.boot.Process.Kill()
		<-m.boot.ended
	})
	return m
}

// makeCgroup makes a group in the unified hierarchy and removes it with all
// below when the test ends.
func makeCgroup(t *testing.T) string {
	t.Helper()
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/unified"); err == nil {
		parent += "/unified"
	}
	group, err := os.MkdirTemp(parent, "tcplimbo-deploy-")
	if err != nil {
		missing(t, fmt.Sprintf("a place for a cgroup (%v)", err))
	}
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for {
			err := removeGroups(group)
			if err == nil || time.Now().After(deadline) {
				if err != nil {
					t.Errorf("removing cgroup: %v", err)
				}
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	return group
}

func removeGroups(group string) error {
	below, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, b := range below {
		if b.IsDir() {
			err = errors.Join(err, removeGroups(filepath.Join(group, b.Name())))
		}
	}
	return errors.Join(err, syscall.Rmdir(group))
}

// try runs a command on the machine.
func (m *machine) try(args ...string) (string, error) {
	cmd := exec.Command("nsenter", append([]string{"--target", m.init, "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--root", "--wd=/"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do is try for a command that must succeed.
func (m *machine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// property returns one of the unit's properties.
func (m *machine) property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(m.do(t, "systemctl", "show", "--value", "--property", name, "tcplimbo.service"))
}
