package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// kernelObjects are ids of BPF objects, by what /proc/PID/fdinfo calls them.
type kernelObjects map[string]map[uint32]bool

// objectsOf returns the BPF objects a process holds. Asking the process, and
// not the whole machine, keeps other people's programs out of it.
func objectsOf(t *testing.T, pid int) kernelObjects {
	t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fdinfo/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fdinfo of %d: %v", pid, err)
	}
	o := kernelObjects{"prog_id": {}, "map_id": {}, "link_id": {}}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed in the meantime
		}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if ids, ok := o[key]; ok {
				if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
					ids[uint32(id)] = true
				}
			}
		}
	}
	return o
}

// left returns the objects that still exist.
func (o kernelObjects) left() (out []string) {
	open := map[string]func(uint32) (interface{ Close() error }, error){
		"prog_id": func(id uint32) (interface{ Close() error }, error) { return ebpf.NewProgramFromID(ebpf.ProgramID(id)) },
		"map_id":  func(id uint32) (interface{ Close() error }, error) { return ebpf.NewMapFromID(ebpf.MapID(id)) },
		"link_id": func(id uint32) (interface{ Close() error }, error) { return link.NewFromID(link.ID(id)) },
	}
	for kind, ids := range o {
		for id := range ids {
			c, err := open[kind](id)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				_ = c.Close()
			}
			out = append(out, kind+" "+strconv.Itoa(int(id)))
		}
	}
	return out
}

// TestStop: SIGINT and SIGTERM end the agent well and leave nothing in the
// kernel.
func TestStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newScene(t)
			s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 500})
			a := startRun(t)
			s.waitOpen(a, 10*time.Second)
			mine := objectsOf(t, a.cmd.Process.Pid)
			if len(mine["prog_id"]) == 0 || len(mine["map_id"]) == 0 {
				t.Fatalf("the running agent holds %v: this test looks in the wrong place", mine)
			}
			a.stop(sig)
			s.audit(a, false)
			deadline := time.Now().Add(stopTime)
			for len(mine.left()) > 0 && time.Now().Before(deadline) {
				time.Sleep(10 * time.Millisecond) // the kernel frees maps and programs after a grace period
			}
			if left := mine.left(); len(left) > 0 {
				t.Errorf("left in the kernel: %v", left)
			}
			if lines := trouble(a.diagnostics()); len(lines) > 0 {
				t.Errorf("standard error of a run without trouble:\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}

// TestStopDuringStart: a signal that comes before the agent is ready ends it
// as well.
func TestStopDuringStart(t *testing.T) {
	needBPF(t)
	for _, after := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond} {
		a := startAgent(t, "run", "--metrics-addr", "")
		time.Sleep(after) // not a wait for something: any moment will do
		if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// A signal that is faster than main kills in the ordinary way, -1.
		if code := a.exitCode(stopTime + 5*time.Second + a.stalls.longest()); code != 0 && code != -1 {
			t.Errorf("exit code %d of a run that was ended %s after its start", code, after)
		}
	}
}

// TestDuration ends by itself.
func TestDuration(t *testing.T) {
	needBPF(t)
	a := startAgent(t, "run", "--metrics-addr", "", "--duration", "1s")
	if code := a.exitCode(readyTime); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestTwoAgents: two agents at once both see everything.
func TestTwoAgents(t *testing.T) {
	s := newScene(t)
	other := s.namespace(true)
	first := startRun(t)
	second := startRun(t)
	var sets []*workload.Set
	for _, k := range []workload.Kind{workload.CloseWaitUnread, workload.SynSent, workload.FinWait2HalfClosed} {
		sets = append(sets, s.make(workload.Spec{Kind: k, Count: 20, NS: other, Peers: workload.PeersHeld}))
	}
	s.waitOpen(first, 30*time.Second)
	s.waitOpen(second, 30*time.Second)
	first.stop(syscall.SIGTERM)
	endAll(t, sets)
	s.waitResolved(second, 30*time.Second)
	second.stop(syscall.SIGTERM)
	s.audit(first, false)
	s.audit(second, true)
	s.compareOutcomes(second)
}

// TestReaderGoesAway: when the reader of standard output has enough, the
// agent ends with one line that says so, and what was read was whole.
func TestReaderGoesAway(t *testing.T) {
	s := newScene(t)
	ready := filepath.Join(t.TempDir(), "ready")
	set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 50})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	args := append([]string{"run", "-o", "json", "--metrics-addr", "", "--ready-file", ready}, quick...)
	cmd := exec.Command(binary, args...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	opened := map[uint64]bool{}
	for sc := bufio.NewScanner(r); len(opened) < 50 && sc.Scan(); {
		rec, err := parseRecord(append(sc.Bytes(), '\n'))
		if err != nil {
			t.Fatal(err)
		}
		if s.mine(rec) {
			opened[rec.cookie()] = true
		}
	}
	for _, tr := range set.Truths() {
		if !opened[tr.Cookie] {
			t.Errorf("no line about %+v before the pipe was closed", *tr)
		}
	}
	r.Close()
	if err := set.End(workload.EndClose); err != nil { // gives the agent something to say
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the agent goes on without a reader")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	checkOneLine(t, strings.Join(trouble(strings.SplitAfter(stderr.String(), "\n")), ""), "standard output", "pipe")
}

// TestLogFile: lines go to the file too; after SIGUSR1 to a new one.
func TestLogFile(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	file := filepath.Join(t.TempDir(), "findings.json")
	a := startRun(t, "-o", "none", "--log-file", file)
	first := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 20})
	waitLines(t, file, first)
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(readyTime)
	for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
		if time.Now().After(deadline) {
			t.Fatal("no new file after SIGUSR1")
		}
		time.Sleep(10 * time.Millisecond)
	}
	second := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 20})
	waitLines(t, file, second)
	a.stop(syscall.SIGTERM)
	if n := len(a.all()); n > 0 {
		t.Errorf("%d lines on standard output with -o none", n)
	}
}

// waitLines waits until a file has an open record of each socket of a set.
func waitLines(t *testing.T, file string, set *workload.Set) {
	t.Helper()
	deadline := time.Now().Add(readyTime)
	for {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		missing := len(set.Truths())
		for _, tr := range set.Truths() {
			cookie := `"tcplimbo.socket.cookie":"` + strconv.FormatUint(tr.Cookie, 16) + `"`
			if strings.Contains(string(b), cookie) {
				missing--
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sockets are not in %s", missing, len(set.Truths()), file)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
