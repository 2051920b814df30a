package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Limits of the contract and of this suite.
const (
	maxLine   = 4096            // a JSON line is shorter
	readyTime = 3 * time.Minute // an emulated or a very busy machine; P12 measures the real figure
	stopTime  = 2 * time.Second // after SIGINT or SIGTERM
)

// quick are thresholds that make a scenario last seconds; each finding is wanted.
// ESTABLISHED is for the tests that ask for it: the peer of a close that waits for a
// window does not read.
var quick = []string{"--close-wait", "2s", "--fin-wait2", "2s", "--syn-sent", "2s", "--closing", "2s", "--established", "0", "--group-above", "0"}

// agent is a running tcplimbo.
type agent struct {
	t      *testing.T
	cmd    *exec.Cmd
	ready  time.Time // when the ready file was seen
	exited chan struct{}
	stalls *stalls

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every line
	records []*record
	bad     []badLine
	stderr  []string
	state   *os.ProcessState
}

// badLine is a line that breaks the contract.
type badLine struct{ why, line string }

// startRun starts `tcplimbo run` with JSON on standard output and waits until
// it is ready.
func startRun(t *testing.T, args ...string) *agent {
	t.Helper()
	needBPF(t)
	ready := filepath.Join(t.TempDir(), "ready")
	all := append([]string{"run", "-o", "json", "--metrics-addr", "", "--ready-file", ready}, quick...)
	a := startAgent(t, append(all, args...)...)
	a.waitReady(ready)
	return a
}

func startAgent(t *testing.T, args ...string) *agent {
	t.Helper()
	a := &agent{t: t, cmd: exec.Command(binary, args...), exited: make(chan struct{}), changed: make(chan struct{})}
	a.stalls = watchStalls(t)
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := a.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { a.readLines(stdout, a.takeRecord) })
	wg.Go(func() { a.readLines(stderr, a.takeDiagnostic) })
	go func() {
		wg.Wait() // the pipes must be empty before Wait closes them
		_ = a.cmd.Wait()
		a.update(func() { a.state = a.cmd.ProcessState })
		close(a.exited)
	}()
	t.Cleanup(a.cleanUp)
	return a
}

func (a *agent) cleanUp() {
	select {
	case <-a.exited:
	default:
		a.t.Log("the agent has to be killed")
		_ = a.cmd.Process.Signal(syscall.SIGCONT)
		_ = a.cmd.Process.Kill()
		<-a.exited
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	wrong := problems{t: a.t}
	for _, b := range a.bad {
		wrong.add("a line on standard output breaks the contract: "+b.why, b.line)
	}
	wrong.report()
	if a.t.Failed() {
		a.t.Logf("the agent %s", a.cmd.ProcessState)
	}
	if a.t.Failed() && len(a.stderr) > 0 {
		a.t.Logf("standard error of %s:\n%s", strings.Join(a.cmd.Args[1:], " "), strings.Join(tail(a.stderr, 20), "\n"))
	}
}

func tail(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }

func (a *agent) readLines(r io.Reader, take func([]byte)) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			take(line)
		}
		if err != nil {
			return
		}
	}
}

// update changes the agent's fields and wakes those who wait for a change.
func (a *agent) update(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) takeRecord(line []byte) {
	r, err := parseRecord(line)
	a.update(func() {
		if err != nil {
			a.bad = append(a.bad, badLine{why: err.Error(), line: string(bytes.TrimSpace(line))})
			return
		}
		a.records = append(a.records, r)
	})
}

func (a *agent) takeDiagnostic(line []byte) {
	a.update(func() { a.stderr = append(a.stderr, strings.TrimSuffix(string(line), "\n")) })
}

// settle is how long wait lets changes gather before it looks again: to look
// at thousands of records after each of them would slow down the reading.
const settle = 20 * time.Millisecond

// wait returns true soon after cond holds for the records so far, false after
// the timeout or the agent's end.
func (a *agent) wait(timeout time.Duration, cond func([]*record) bool) bool {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		a.mu.Lock()
		// Records are only appended, so the part seen now needs no lock.
		records, changed := a.records, a.changed
		a.mu.Unlock()
		if cond(records) {
			return true
		}
		select {
		case <-changed:
			time.Sleep(settle)
		case <-a.exited:
			return cond(a.all())
		case <-deadline.C:
			return false
		}
	}
}

// all returns the records so far.
func (a *agent) all() []*record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*record(nil), a.records...)
}

func (a *agent) diagnostics() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.stderr...)
}

func (a *agent) waitReady(file string) {
	a.t.Helper()
	deadline := time.Now().Add(readyTime)
	for {
		if _, err := os.Stat(file); err == nil {
			a.ready = time.Now()
			return
		} else if !errors.Is(err, os.ErrNotExist) {
			a.t.Fatal(err)
		}
		select {
		case <-a.exited:
			a.t.Fatalf("%s ended before it was ready: %v\n%s", a.cmd, a.state, strings.Join(a.diagnostics(), "\n"))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s is not ready after %s", a.cmd, readyTime)
		}
	}
}

// stop ends the agent with a signal and checks that it ends well and soon.
func (a *agent) stop(sig syscall.Signal) {
	a.t.Helper()
	start := time.Now()
	if err := a.cmd.Process.Signal(sig); err != nil {
		a.t.Fatalf("sending %s: %v", sig, err)
	}
	code := a.exitCode(10 * time.Second)
	_, busy := together.Load(a.t.Name())
	if took, allowed := time.Since(start), stopTime+a.stalls.longest(); took > allowed && !busy {
		a.t.Errorf("ended %s after %s, want within %s", took, sig, allowed)
	}
	if code != 0 {
		a.t.Errorf("exit code %d after %s, want 0", code, sig)
	}
}

// exitCode waits for the end.
func (a *agent) exitCode(timeout time.Duration) int {
	a.t.Helper()
	select {
	case <-a.exited:
		return a.state.ExitCode()
	case <-time.After(timeout):
		a.t.Fatalf("%s has not ended after %s", a.cmd, timeout)
		return -1
	}
}
