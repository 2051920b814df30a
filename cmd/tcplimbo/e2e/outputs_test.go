package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// waitDiagnostic waits until standard error says something.
func (a *agent) waitDiagnostic(t *testing.T, text string, timeout time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(strings.Join(a.diagnostics(), "\n"), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("standard error does not say %q:\n%s", text, strings.Join(a.diagnostics(), "\n"))
		}
	}
}

// fileRecords returns the records of a log file.
func fileRecords(t *testing.T, path string) []*record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []*record
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				t.Errorf("%s ends in half a line: %q", path, line)
			}
			return all
		}
		rec, err := parseRecord(line)
		if err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		all = append(all, rec)
	}
}

// TestStoppedReader: while the reader of standard output is stopped, the log file
// gets every finding in time, and afterwards the reader gets them all.
func TestStoppedReader(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	dir := t.TempDir()
	log, out, ready := filepath.Join(dir, "log.json"), filepath.Join(dir, "out.json"), filepath.Join(dir, "ready")
	reader := exec.Command("cat")
	stdin, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader.Stdout = file
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Process.Kill() })
	args := append([]string{"run", "--metrics-addr", "", "--ready-file", ready, "--log-file", log}, quick...)
	cmd := exec.Command(binary, args...)
	cmd.Stdout = stdin.(*os.File)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	stdin.Close()
	waitFile(t, ready)

	if err := reader.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	const many = 400 // several times what a pipe holds
	s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: many})
	for deadline := time.Now().Add(20 * time.Second); s.missing(fileRecords(t, log), "open") > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log file lacks %d findings while the other reader stands still", s.missing(fileRecords(t, log), "open"))
		}
	}
	if n := s.missing(fileRecords(t, out), "open"); n == 0 {
		t.Error("the stopped reader has everything: it was not stopped")
	}
	time.Sleep(time.Until(stopped.Add(awayTime(t))))
	if err := reader.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); s.missing(fileRecords(t, out), "open") > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the reader that goes on lacks %d findings", s.missing(fileRecords(t, out), "open"))
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

func waitFile(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(readyTime); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %s", path, readyTime)
		}
	}
}

// TestFullDisk: a full disk under the log file is told once, keeps standard output
// going, and what waited is written when there is room.
func TestFullDisk(t *testing.T) {
	sideBySide(t)
	s := newScene(t)
	dir := t.TempDir()
	if err := unix.Mount("tcplimbo-test", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatalf("mounting a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	filler, log := filepath.Join(dir, "filler"), filepath.Join(dir, "log.json")
	if err := os.WriteFile(filler, make([]byte, 16<<20-64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startRun(t, "--log-file", log)
	set := s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 200})
	s.waitOpen(a, 20*time.Second)
	a.waitDiagnostic(t, "no space left on device", 10*time.Second)
	if s.missing(fileRecords(t, log), "open") == 0 {
		t.Error("the disk was not full")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	a.waitDiagnostic(t, "records are written again", 20*time.Second)
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	s.waitResolved(a, 20*time.Second)
	a.stop(syscall.SIGTERM)
	got := fileRecords(t, log)
	if open, resolved := s.missing(got, "open"), s.missing(got, "resolved"); open+resolved > 0 {
		t.Errorf("the file lacks %d findings and %d ends", open, resolved)
	}
	if n := strings.Count(strings.Join(a.diagnostics(), "\n"), "cannot be written"); n != 1 {
		t.Errorf("told %d times that the disk is full, want once", n)
	}
}
