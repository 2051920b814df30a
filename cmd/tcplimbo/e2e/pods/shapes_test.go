package pods

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPathShapes puts leaking programs into cgroups that are called as runtimes call
// theirs.
func TestPathShapes(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("making cgroups needs root, and REQUIRE_BPF=1 forbids to skip")
		}
		t.Skip("making cgroups needs root")
	}
	id := func(n int) string { return fmt.Sprintf("%064x", 0xabc000+n) }
	uid := newUID()
	slice := "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/"
	shapes := []struct{ name, path, id, uid string }{
		{"docker", "docker/" + id(1), id(1), ""},
		{"docker, systemd", "system.slice/docker-" + id(2) + ".scope", id(2), ""},
		{"podman", "machine.slice/libpod-" + id(3) + ".scope/container", id(3), ""},
		{"containerd, systemd", slice + "cri-containerd-" + id(4) + ".scope", id(4), uid},
		{"cri-o", slice + "crio-" + id(5) + ".scope/container", id(5), uid},
		{"nested", "docker/" + id(6) + "/kubelet/kubepods/burstable/pod" + uid + "/" + id(7), id(7), uid},
		{"podman's monitor", "machine.slice/libpod-conmon-" + id(8) + ".scope", "", ""},
		{"a service", "system.slice/web.service", "", ""},
	}
	root := cgroupRoot(t)
	top := filepath.Join(root, fmt.Sprintf("tcplimbo-shapes-%d", os.Getpid()))
	pids := map[int]int{}
	for i, s := range shapes {
		pids[leakIn(t, top, filepath.Join(top, s.path))] = i
	}
	// Threshold, ticks, and time for the programs to leak; then what is said is said.
	run := exec.Command(tcplimbo, "run", "--metrics-addr", "", "--close-wait", "1s", "--group-above", "0", "--cri-socket", "off", "--duration", "8s")
	out, err := run.Output()
	if err != nil {
		t.Fatalf("running tcplimbo: %v", err)
	}
	seen := map[int]bool{}
	for line := range bytes.Lines(out) {
		r := map[string]any{}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		pid, _ := r["process.pid"].(float64)
		i, mine := pids[int(pid)]
		if !mine || r["event.name"] != "tcplimbo.finding" {
			continue
		}
		seen[i] = true
		container, _ := r["container.id"].(string)
		pod, _ := r["k8s.pod.uid"].(string)
		if s := shapes[i]; container != s.id || pod != s.uid {
			t.Errorf("%s: container %q, pod %q, want %q, %q", s.name, container, pod, s.id, s.uid)
		}
	}
	if len(seen) != len(shapes) {
		t.Errorf("leaks of %d programs were found, want %d", len(seen), len(shapes))
	}
}

// cgroupRoot is where cgroups of version 2 are mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
			return root
		}
	}
	t.Skip("no hierarchy of version 2 is mounted")
	return ""
}

// leakIn runs a leaking program in a cgroup that it makes, and returns its pid.
func leakIn(t *testing.T, top, cgroup string) int {
	t.Helper()
	t.Cleanup(func() {
		for dir := cgroup; len(dir) >= len(top); dir = filepath.Dir(dir) {
			_ = os.Remove(dir) // what others need is not empty
		}
		if _, err := os.Stat(cgroup); err == nil {
			t.Errorf("%s is left", cgroup)
		}
	})
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(leakypod, "leak")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// The cgroup is empty a moment after its last process was waited for.
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			events, err := os.ReadFile(cgroup + "/cgroup.events")
			if err != nil || bytes.Contains(events, []byte("populated 0")) {
				return
			}
		}
	})
	return cmd.Process.Pid
}
