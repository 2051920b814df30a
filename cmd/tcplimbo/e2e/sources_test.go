package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// bothSee are the kinds that netlink tells apart as eBPF does.
var bothSee = []workload.Spec{
	{Kind: workload.CloseWaitUnread, Peers: workload.PeersHeld, Payload: 3},
	{Kind: workload.CloseWaitIgnored, Accepted: true, Payload: 3},
	{Kind: workload.CloseWaitDrained},
	{Kind: workload.CloseWaitSending},
	{Kind: workload.CloseWaitUnaccepted, Peers: workload.PeersHeld},
	{Kind: workload.SynSent},
	{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld, Accepted: true},
	{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld},
	{Kind: workload.FinWait1},
	{Kind: workload.FinWait1, Shutdown: true},
	{Kind: workload.FinWait1ZeroWindow, Shutdown: true},
	{Kind: workload.Closing, Shutdown: true},
	{Kind: workload.LastAck},
}

// sameInBoth are the keys in which the two sources agree.
var sameInBoth = []string{
	"tcplimbo.finding.kind", "tcplimbo.finding.reason", "network.connection.state", "network.type",
	"tcplimbo.socket.cookie", "tcplimbo.socket.inode", "tcplimbo.socket.fd", "tcplimbo.socket.holders",
	"tcplimbo.tcp.unread_bytes", "tcplimbo.finding.threshold_seconds",
}

// TestSourcesAgree: the same scene is flagged by both kernel sides, alike in kind,
// reason, addresses, cookie and holder, and each truth once.
func TestSourcesAgree(t *testing.T) {
	s := newScene(t)
	other := s.namespace(true)
	makeAll := func() {
		for _, spec := range bothSee {
			for i, f := range workload.Families() {
				spec.Count, spec.Family, spec.NS = 2, f, []*workload.Namespace{nil, other}[i%2]
				s.make(spec)
			}
		}
	}
	makeAll()
	agents := map[string]*agent{
		"ebpf":     startRun(t, "--source", "ebpf", "--established", "2s"),
		"sockdiag": startRun(t, "--source", "sockdiag", "--established", "2s"),
	}
	makeAll()
	for _, a := range agents {
		s.waitOpen(a, 20*time.Second)
	}
	s.witness(other)
	open := byTuple(agents["ebpf"].all(), "open")
	wrong := problems{t: t}
	for tuple, polled := range byTuple(agents["sockdiag"].all(), "open") {
		told := open[tuple]
		if len(told) == 0 || len(polled) != 1 || !s.mine(polled[0]) {
			continue // of another test's sockets, or audited below
		}
		for _, key := range s.disagree(told[0], polled[0]) {
			wrong.add(key+" differs in "+polled[0].str("tcplimbo.finding.reason"), told[0].line+"\n"+polled[0].line)
		}
	}
	wrong.report()
	s.boundAges(agents["sockdiag"])
	for name, a := range agents {
		a.stop(syscall.SIGTERM)
		s.auditOpen(name, a)
	}
	if said := strings.Join(agents["sockdiag"].diagnostics(), "\n"); !strings.Contains(said, `"lost":"exact ages,`) {
		t.Errorf("what is lost is not said: %s", said)
	}
}

// disagree returns the keys that differ. Who closed an orphan only eBPF knows.
func (s *scene) disagree(told, polled *record) []string {
	var keys []string
	for _, key := range sameInBoth {
		if key == "tcplimbo.tcp.unread_bytes" && told.str("tcplimbo.finding.reason") == "still_sending" {
			continue
		}
		if fmt.Sprint(told.fields[key]) != fmt.Sprint(polled.fields[key]) {
			keys = append(keys, key)
		}
	}
	if polled.has("process.pid") && polled.pid() != told.pid() {
		keys = append(keys, "process.pid")
	}
	if told.has("tcplimbo.socket.fd") && !polled.has("process.executable.name") {
		keys = append(keys, "process.executable.name")
	}
	return keys
}

// boundAges: what is polled for is never said to be older than it is, nor to be
// known exactly.
func (s *scene) boundAges(a *agent) {
	s.t.Helper()
	opened := byTuple(a.all(), "open")
	wrong := problems{t: s.t}
	for _, tr := range s.truths {
		for _, r := range opened[tr.Tuple()] {
			if r.fields["tcplimbo.finding.since_exact"] != false {
				wrong.add("since_exact is true", r.line)
			}
			if r.time("tcplimbo.finding.since").Before(tr.Since.Add(-tick)) {
				wrong.add("older than the truth: "+tr.State+" "+tr.Reason, fmt.Sprintf("%s for %+v", r.line, *tr))
			}
		}
	}
	wrong.report()
}

// auditOpen checks that each truth was opened once.
func (s *scene) auditOpen(name string, a *agent) {
	s.t.Helper()
	opened := byTuple(a.all(), "open")
	wrong := problems{t: s.t}
	for _, tr := range s.truths {
		if n := len(opened[tr.Tuple()]); n != 1 {
			wrong.add(fmt.Sprintf("%s: %s %s opened %d times", name, tr.State, tr.Reason, n), tr)
		}
	}
	wrong.report()
}

// TestAutoFallsBack: without BTF and without privileges one warning says what is
// lost, and what can be seen is.
func TestAutoFallsBack(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Payload: 3, Count: 3})
	for _, tt := range []struct {
		name, confine string
		uid           uint32
		named         bool
	}{
		{"no BTF", confineNoBTF, 0, true},
		{"no capabilities", confineCaps + capsBPF, 0, true},
		{"another user", "", 65534, false},
	} {
		for _, args := range [][]string{
			{"list", "-o", "json", "--state", "close_wait", "--port", fmt.Sprint(set.ListenerPort())},
			{"run", "--metrics-addr=", "--close-wait", "1s", "--duration", "2500ms"},
		} {
			in := badInput{args: args, confine: tt.confine, uid: tt.uid}
			stdout, stderr, code := in.start(t)
			if code != 0 || strings.Count(stderr, `"level":"warn"`) != 1 || strings.Contains(stderr, `"level":"error"`) || !strings.Contains(stderr, `"lost":`) {
				t.Errorf("%s, %s: exit code %d, standard error %q", tt.name, args[0], code, stderr)
			}
			for _, tr := range set.Truths() {
				line := lineAbout(stdout, tr.Cookie)
				if line == "" || strings.Contains(line, fmt.Sprintf(`"process.pid":%d,`, os.Getpid())) != tt.named {
					t.Errorf("%s, %s: %+v is told as %q", tt.name, args[0], *tr, line)
				}
				if strings.Contains(line, "not all processes could be looked into") == tt.named {
					t.Errorf("%s, %s: %+v is told as %q", tt.name, args[0], *tr, line)
				}
			}
		}
	}
}

func lineAbout(stdout string, cookie uint64) string {
	for line := range strings.Lines(stdout) {
		if strings.Contains(line, fmt.Sprintf(`"tcplimbo.socket.cookie":"%x"`, cookie)) {
			return line
		}
	}
	return ""
}

// TestUnprivilegedNamesItsOwn: a user without privileges is told of the own
// processes.
func TestUnprivilegedNamesItsOwn(t *testing.T) {
	needBPF(t)
	cmd := exec.Command("/bin/sh", "-c", "exec 2>&1; exec \"$0\" list --source sockdiag --all --no-header", binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), `"unprivileged":`) {
		t.Errorf("%v: %s", err, out)
	}
}
