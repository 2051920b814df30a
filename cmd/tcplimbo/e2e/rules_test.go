package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// leaker starts a program of that name and makes it forget a connection.
func (s *scene) leaker(name string, attr *syscall.SysProcAttr) *workload.Truth {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tcplimbo-e2e-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// Other users than root must reach it.
	if err := os.Chmod(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	exe := filepath.Join(dir, name)
	copyFile(s.t, self, exe)
	c := s.child(workload.ChildOptions{Executable: exe, Attr: attr})
	_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitIgnored})
	if err != nil {
		s.t.Fatal(err)
	}
	s.add(truths...)
	return truths[0]
}

// opens waits for the open record of a socket.
func (a *agent) opens(tr *workload.Truth) *record {
	a.t.Helper()
	var r *record
	if !a.wait(20*time.Second, func(records []*record) bool {
		if found := byTuple(records, "open")[tr.Tuple()]; len(found) > 0 {
			r = found[0]
		}
		return r != nil
	}) {
		a.t.Fatalf("no finding about %+v", *tr)
	}
	return r
}

// says waits for a diagnostic.
func (a *agent) says(text string) {
	a.t.Helper()
	if !a.wait(20*time.Second, func([]*record) bool {
		return slices.ContainsFunc(a.diagnostics(), func(line string) bool { return strings.Contains(line, text) })
	}) {
		a.t.Fatalf("the agent does not say %q", text)
	}
}

// TestRules: a rule's threshold holds for the programs that it names, and others are left
// alone, until the file is exchanged as kubelet does it.
func TestRules(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"one": "rules:\n- match: {executable: limbo-soon}\n  close-wait: 1s\n- match: {executable: limbo-never}\n  ignore: true\n",
		"two": "rules:\n- match: {executable: limbo-never, local-cidr: [127.0.0.0/8, \"::1\"]}\n  close-wait: 3s\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "limbo.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	show := func(name string) {
		t.Helper()
		if err := os.Symlink(name, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	show("one")
	a := startRun(t, "--config", filepath.Join(dir, "..data", "limbo.yaml"))
	soon, never, usual := s.leaker("limbo-soon", nil), s.leaker("limbo-never", nil), s.leaker("limbo-usual", nil)
	if r := a.opens(soon); r.seconds("tcplimbo.finding.threshold_seconds") != time.Second {
		t.Errorf("by a rule: %s", r.line)
	}
	if r := a.opens(usual); r.seconds("tcplimbo.finding.threshold_seconds") != 2*time.Second || r.seconds("tcplimbo.finding.duration_seconds") < 2*time.Second {
		t.Errorf("without a rule: %s", r.line)
	}
	// It is as old as the last one, and was judged with it.
	if found := byTuple(a.all(), "open")[never.Tuple()]; len(found) > 0 {
		t.Errorf("ignored: %s", found[0].line)
	}
	show("two")
	a.says("configuration reloaded")
	if r := a.opens(never); r.seconds("tcplimbo.finding.threshold_seconds") != 3*time.Second || r.seconds("tcplimbo.finding.duration_seconds") < 3*time.Second {
		t.Errorf("not ignored any more: %s", r.line)
	}
	if err := os.WriteFile(filepath.Join(dir, "two", "limbo.yaml"), []byte("rules:\n- match: {cidr: 10.0.0.0/40}\n  ignore: true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.says(`limbo.yaml:2:17: cidr: \"10.0.0.0/40\" is not a network`)
	a.stop(syscall.SIGTERM)
	s.audit(a, false)
}

// TestRuleByCgroup: what a cgroup holds is left alone, whatever its programs are called.
func TestRuleByCgroup(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	root := cgroupRoot(t)
	dir, err := os.MkdirTemp(root, "tcplimbo-e2e-")
	if err != nil {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(t.TempDir(), "limbo.yaml")
	text := "rules:\n- match: {cgroup: \"*/" + filepath.Base(dir) + "\"}\n  ignore: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startRun(t, "--config", file)
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	inside := s.leaker("limbo-inside", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())})
	outside := s.leaker("limbo-outside", nil)
	// The second is younger, and looked at later.
	a.opens(outside)
	a.stop(syscall.SIGTERM)
	if found := byTuple(a.all(), "open")[inside.Tuple()]; len(found) > 0 {
		t.Errorf("ignored: %s", found[0].line)
	}
}

// cgroupRoot is where the unified hierarchy is mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir
		}
	}
	t.Skip("no cgroups are mounted")
	return ""
}
