package deploytest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

var unit = filepath.Join(root, "deploy", "systemd", "tcplimbo.service")

// TestUnitIsConfined: systemd's own judgement, from 0 (confined) to 10.
func TestUnitIsConfined(t *testing.T) {
	out := output(t, tool(t, "systemd-analyze"), "security", "--offline=true", "--no-pager", unit)
	m := regexp.MustCompile(`Overall exposure level for tcplimbo.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no judgement in:\n%s", out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level >= 4.5 {
		t.Errorf("exposure level %s, want less than 4.5", m[1])
	}
}

// debianPackage returns the package that `make package` made for this machine.
func debianPackage(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(os.Getenv("DIST"), "tcplimbo_*_"+runtime.GOARCH+".deb"))
	if err != nil || len(found) != 1 {
		missing(t, "one package in DIST (make test-deploy makes it)")
	}
	if _, err := exec.LookPath("dpkg"); err != nil {
		missing(t, "dpkg")
	}
	return found[0]
}

// TestRealSystemd installs the package on a machine with a real systemd and
// goes through the life of the service. The steps build on one another.
func TestRealSystemd(t *testing.T) {
	needRoot(t)
	pkg := debianPackage(t)
	m := bootMachine(t)
	write(t, m.root+"/tmp/tcplimbo.deb", read(t, pkg))
	load, err := os.ReadFile(program("limboload"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.root+"/tmp/limboload", load, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func(*machine, *testing.T)
	}{
		{"install", (*machine).installs},
		{"verify", (*machine).verifies},
		{"start", (*machine).starts},
		{"findings", (*machine).finds},
		{"capabilities", (*machine).confines},
		{"reload", (*machine).reloads},
		{"bad settings", (*machine).refusesSettings},
		{"watchdog", (*machine).watches},
		{"stop", (*machine).stops},
		{"settings that are wrong from the start", (*machine).givesUp},
		{"purge", (*machine).purges},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(m, t) }) {
			m.tell(t)
			return
		}
	}
}

// tell logs what may explain a failure: the journal, but not its findings, of
// which a busy host has many.
func (m *machine) tell(t *testing.T) {
	out, _ := m.try("journalctl", "--no-pager", "--output=short-precise")
	var lines strings.Builder
	for line := range strings.Lines(out) {
		if !strings.Contains(line, `"event.name"`) {
			lines.WriteString(line)
		}
	}
	t.Logf("the journal:\n%s", clip(lines.String()))
}

func (m *machine) installs(t *testing.T) {
	m.do(t, "dpkg", "--install", "/tmp/tcplimbo.deb")
	// Installed is not started: many want the commands only.
	if state := m.property(t, "ActiveState"); state != "inactive" {
		t.Errorf("after installing it is %s", state)
	}
	if out := m.do(t, "man", "--where", "tcplimbo"); !strings.Contains(out, "tcplimbo.1.gz") {
		t.Errorf("man page: %s", out)
	}
}

func (m *machine) verifies(t *testing.T) {
	if out := m.do(t, "systemd-analyze", "verify", "/usr/lib/systemd/system/tcplimbo.service"); out != "" {
		t.Errorf("systemd-analyze verify says: %s", out)
	}
}

func (m *machine) starts(t *testing.T) {
	// Quick thresholds, and a watchdog that one can wait for.
	m.configure(t, oursAfter("1s"))
	folder := m.root + "/etc/systemd/system/tcplimbo.service.d"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, folder+"/test.conf", "[Service]\nWatchdogSec=3s\n")
	m.do(t, "systemctl", "daemon-reload")
	// Returns once the service has said that it is ready.
	m.do(t, "systemctl", "start", "tcplimbo")
	if state := m.property(t, "ActiveState"); state != "active" {
		t.Errorf("after start it is %s", state)
	}
	if status := m.property(t, "StatusText"); status == "" {
		t.Error("it says no status")
	}
}

// oursAfter are settings under which only the leak of this test is flagged, that
// long after it began: a busy host would fill the journal.
func oursAfter(wait string) string {
	const far = "syn-sent: 1000h\nfin-wait2: 1000h\nclose-wait: 1000h\nestablished: 1000h\nclosing: 1000h\n"
	return far + "rules:\n  - match: {executable: /tmp/limboload}\n    close-wait: " + wait + "\n"
}

func (m *machine) configure(t *testing.T, text string) {
	t.Helper()
	write(t, m.root+"/etc/tcplimbo/tcplimbo.yaml", text)
}

// finds looks for a leak's findings in the journal.
func (m *machine) finds(t *testing.T) {
	t.Helper()
	since := len(m.findings(t))
	m.leak(t)
	until(t, 30*time.Second, func() string {
		if found := len(m.findings(t)); found < since+2 {
			return fmt.Sprintf("%d findings in the journal, want %d", found, since+2)
		}
		return ""
	})
	m.endLeak(t)
}

// leak makes two stuck sockets on the machine, as a service of its own.
func (m *machine) leak(t *testing.T) {
	t.Helper()
	m.do(t, "systemd-run", "--quiet", "--collect", "--unit=leak", "sh", "-c",
		"sleep 600 | /tmp/limboload stuck --kind close-wait-ignored --count 2")
}

func (m *machine) endLeak(t *testing.T) {
	t.Helper()
	m.do(t, "systemctl", "stop", "leak")
}

// findings returns the findings in the journal that opened for the leak; its
// program belongs to another user than the agent, and is named nevertheless.
func (m *machine) findings(t *testing.T) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(m.do(t, "journalctl", "--unit=tcplimbo", "--output=cat", "--no-pager")) {
		var f map[string]any
		if json.Unmarshal([]byte(line), &f) == nil && f["tcplimbo.finding.status"] == "open" &&
			f["process.executable.path"] == "/tmp/limboload" {
			found = append(found, line)
		}
	}
	return found
}

// confines: a user of its own, three capabilities at the most, no way to more.
func (m *machine) confines(t *testing.T) {
	status := m.do(t, "cat", "/proc/"+m.property(t, "MainPID")+"/status")
	field := func(name string) string {
		for line := range strings.Lines(status) {
			if value, found := strings.CutPrefix(line, name+":"); found {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	if uid := strings.Fields(field("Uid")); len(uid) == 0 || uid[0] == "0" {
		t.Errorf("it runs as uid %v", uid)
	}
	if field("NoNewPrivs") != "1" || field("Seccomp") != "2" {
		t.Errorf("no new privileges %s, seccomp %s", field("NoNewPrivs"), field("Seccomp"))
	}
	// Bits 19 SYS_PTRACE, 38 PERFMON, 39 BPF (linux/capability.h).
	const allowed = uint64(1<<19 | 1<<38 | 1<<39)
	for _, set := range []string{"CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"} {
		if held, err := strconv.ParseUint(field(set), 16, 64); err != nil || held&^allowed != 0 {
			t.Errorf("%s is %s", set, field(set))
		}
	}
}

// reloads: new settings, the same process.
func (m *machine) reloads(t *testing.T) {
	pid := m.property(t, "MainPID")
	m.configure(t, oursAfter("1h"))
	m.do(t, "systemctl", "reload", "tcplimbo")
	if now := m.property(t, "MainPID"); now != pid {
		t.Errorf("reloading made process %s of %s", now, pid)
	}
	since := len(m.findings(t))
	m.leak(t)
	// With the old settings they would be found after a second: see finds.
	time.Sleep(4 * time.Second)
	if found := m.findings(t)[since:]; len(found) > 0 {
		t.Errorf("found with the old settings: %s", found[0])
	}
	m.endLeak(t)
	m.configure(t, oursAfter("1s"))
	m.do(t, "systemctl", "reload", "tcplimbo")
	m.finds(t)
}

// refusesSettings: a mistake in the file is told, and changes nothing.
func (m *machine) refusesSettings(t *testing.T) {
	m.configure(t, "close-weight: 1s\n")
	_, _ = m.try("systemctl", "reload", "tcplimbo")
	until(t, 10*time.Second, func() string {
		said := m.do(t, "journalctl", "--unit=tcplimbo", "--output=cat", "--no-pager")
		if !strings.Contains(said, "tcplimbo.yaml:1:1") {
			return "nothing said of line 1, column 1: " + clip(said)
		}
		return ""
	})
	m.finds(t)
	m.configure(t, oursAfter("1s"))
	m.do(t, "systemctl", "reload", "tcplimbo")
}

// watches: what hangs is killed and started again.
func (m *machine) watches(t *testing.T) {
	pid := m.property(t, "MainPID")
	// Beats come: it outlives its watchdog.
	time.Sleep(4 * time.Second)
	if now := m.property(t, "MainPID"); now != pid {
		t.Fatalf("a healthy service was restarted: process %s of %s", now, pid)
	}
	m.do(t, "kill", "-STOP", pid)
	until(t, 60*time.Second, func() string {
		if now := m.property(t, "MainPID"); now == pid || now == "0" || m.property(t, "ActiveState") != "active" {
			return "it hangs and was not restarted"
		}
		return ""
	})
	if n := m.property(t, "NRestarts"); n != "1" {
		t.Errorf("%s restarts, want 1", n)
	}
	m.finds(t)
}

func (m *machine) stops(t *testing.T) {
	m.do(t, "systemctl", "stop", "tcplimbo")
	for name, want := range map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"} {
		if got := m.property(t, name); got != want {
			t.Errorf("after stop %s is %q, want %q", name, got, want)
		}
	}
}

// givesUp: a mistake that a restart does not mend is no reason to restart.
func (m *machine) givesUp(t *testing.T) {
	m.configure(t, "no-such-key: 1\n")
	if out, err := m.try("systemctl", "start", "tcplimbo"); err == nil {
		t.Fatalf("it started: %s", out)
	}
	until(t, 10*time.Second, func() string {
		if state := m.property(t, "ActiveState"); state != "failed" {
			return "it is " + state
		}
		return ""
	})
	if status, restarts := m.property(t, "ExecMainStatus"), m.property(t, "NRestarts"); status != "2" || restarts != "0" {
		t.Errorf("exit status %s after %s restarts, want 2 after 0", status, restarts)
	}
	m.configure(t, oursAfter("1s"))
	m.do(t, "systemctl", "reset-failed", "tcplimbo")
}

func (m *machine) purges(t *testing.T) {
	m.do(t, "systemctl", "start", "tcplimbo")
	m.do(t, "dpkg", "--purge", "tcplimbo")
	if out, err := m.try("pgrep", "-x", "tcplimbo"); err == nil {
		t.Errorf("it still runs: %s", out)
	}
	for _, left := range []string{"/usr/bin/tcplimbo", "/etc/tcplimbo/tcplimbo.yaml", "/usr/lib/systemd/system/tcplimbo.service", "/var/log/tcplimbo"} {
		if _, err := os.Lstat(m.root + left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}
