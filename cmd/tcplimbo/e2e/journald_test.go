package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

const journaldPath = "/lib/systemd/systemd-journald"

// journaldScript makes /run the test's own directory, so that the host's journal,
// if it has one, gets nothing of this.
const journaldScript = `
set -e
mount --make-rprivate /
mount --bind "$1" /run
mkdir -p /run/systemd/journal /run/log/journal
if ! [ -s /etc/machine-id ]; then
	echo 0123456789abcdef0123456789abcdef >/run/machine-id
	touch /etc/machine-id
	mount --bind /run/machine-id /etc/machine-id
fi
exec "$2"
`

// startJournald runs a real journald whose files are in the directory that it
// returns, and returns its pid.
func startJournald(t *testing.T) (pid int, run string) {
	t.Helper()
	if _, err := os.Stat(journaldPath); err != nil {
		t.Skipf("no journald here: %v", err)
	}
	run = t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", journaldScript, "sh", run, journaldPath)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("journald: %s", stderr.String())
		}
	})
	waitFile(t, filepath.Join(run, "systemd/journal/socket"))
	return cmd.Process.Pid, run
}

// entries returns what the journal has from the agent.
func entries(t *testing.T, run string) []map[string]any {
	t.Helper()
	out, err := exec.Command("journalctl", "-D", filepath.Join(run, "log/journal"), "-t", "tcplimbo", "-o", "json", "--no-pager", "-q").Output()
	if err != nil {
		t.Fatalf("reading the journal: %v", err)
	}
	var all []map[string]any
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e map[string]any
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// TestJournald: a real journald has each finding as an entry with fields.
func TestJournald(t *testing.T) {
	s := newScene(t)
	pid, run := startJournald(t)
	log := filepath.Join(t.TempDir(), "log.json")
	args := append([]string{"-m", "-t", strconv.Itoa(pid), binary, "run", "-o", "none", "--metrics-addr", "", "--journald", "on", "--log-file", log}, quick...)
	cmd := exec.Command("nsenter", args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 5, Payload: 10})

	var missing string
	for deadline := time.Now().Add(readyTime + 10*time.Second); ; time.Sleep(200 * time.Millisecond) {
		if missing = notInJournal(t, s, entries(t, run)); missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	// journald takes what is queued at its socket in its own time.
	var mine []*record
	for _, r := range fileRecords(t, log) {
		if r.finding() && s.mine(r) {
			mine = append(mine, r)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		all := entries(t, run)
		if n := absent(mine, all); n == 0 {
			compareJournal(t, mine, all)
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the journal lacks %d of %d records", n, len(mine))
		}
	}
}

// absent counts the lines that are no entries.
func absent(lines []*record, all []map[string]any) (n int) {
	have := map[string]bool{}
	for _, e := range all {
		have[str(e, "TCPLIMBO_FINDING_ID")+str(e, "TCPLIMBO_TIME")] = true
	}
	for _, line := range lines {
		if !have[line.str("tcplimbo.finding.id")+line.str("time")] {
			n++
		}
	}
	return n
}

func notInJournal(t *testing.T, s *scene, all []map[string]any) string {
	t.Helper()
	have := map[string]bool{}
	for _, e := range all {
		have[str(e, "TCPLIMBO_NETWORK_LOCAL_PORT")+" "+str(e, "TCPLIMBO_NETWORK_PEER_PORT")] = true
	}
	for _, tr := range s.truths {
		tp := tr.Tuple()
		if !have[strconv.Itoa(int(tp.Local.Port()))+" "+strconv.Itoa(int(tp.Peer.Port()))] {
			return "the journal lacks " + tp.Local.String()
		}
	}
	return ""
}

func str(e map[string]any, name string) string {
	text, _ := e[name].(string)
	return text
}

// compareJournal compares entries with the lines of the log file.
func compareJournal(t *testing.T, lines []*record, all []map[string]any) {
	t.Helper()
	by := map[string]map[string]any{}
	for _, e := range all {
		by[str(e, "TCPLIMBO_FINDING_ID")+str(e, "TCPLIMBO_TIME")] = e
	}
	for _, line := range lines {
		e := by[line.str("tcplimbo.finding.id")+line.str("time")]
		priority := map[string]string{"warn": "4", "info": "6"}[line.str("level")]
		if str(e, "MESSAGE") != line.str("message") || str(e, "PRIORITY") != priority {
			t.Errorf("message %q, priority %q of %s", str(e, "MESSAGE"), str(e, "PRIORITY"), line.line)
		}
		for _, key := range []string{"finding.kind", "finding.reason", "finding.since", "network.community_id"} {
			name := "TCPLIMBO_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
			if str(e, name) != line.str("tcplimbo."+key) {
				t.Errorf("%s is %q, want %q", name, str(e, name), line.str("tcplimbo."+key))
			}
		}
	}
}
