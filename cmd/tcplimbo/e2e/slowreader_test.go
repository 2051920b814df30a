package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// TestNobodyReads: a reader of standard output that is there but does not read
// keeps neither run nor trace from ending.
func TestNobodyReads(t *testing.T) {
	for name, args := range map[string][]string{
		"run":   {"run", "-o", "json", "--metrics-addr", "", "--close-wait", "1s"},
		"trace": {"trace", "-o", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			cmd := exec.Command(binary, args...)
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			s.make(workload.Spec{Kind: workload.CloseWaitUnread, Count: 200})
			waitFull(t, s, w)
			begin := time.Now()
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("goes on for 10 s after SIGINT")
			}
			if took, allowed := time.Since(begin), stopTime+s.stalls.longest(); took > allowed {
				t.Errorf("ended %s after SIGINT, want within %s", took, allowed)
			}
		})
	}
}

// waitFull gives the agent connections to talk about until the pipe takes no
// more.
func waitFull(t *testing.T, s *scene, w *os.File) {
	t.Helper()
	deadline := time.Now().Add(readyTime)
	for {
		fds := []unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 100)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		case err == nil && n == 0:
			return
		case time.Now().After(deadline):
			t.Fatal("the pipe can still be written to")
		}
		s.churn(100)
	}
}

// TestSlowReader: a reader that takes a page now and then does not keep trace
// from ending in time either, and what it does not get is counted.
func TestSlowReader(t *testing.T) {
	s := newScene(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(binary, "trace", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	// Twice: what the pipe holds, and then what waits in the kernel.
	waitFull(t, s, w)
	s.churn(5000)
	w.Close()
	read := make(chan []byte, 1)
	go func() {
		var all []byte
		page := make([]byte, os.Getpagesize())
		for {
			n, err := r.Read(page)
			all = append(all, page[:n]...)
			if err != nil {
				read <- all
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if took, allowed := time.Since(begin), stopTime+s.stalls.longest(); err != nil || took > allowed {
		t.Errorf("ended %s after SIGINT with %v, want within %s", took, err, allowed)
	}
	if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"left_out":`) || strings.Contains(got, `"left_out":0`) {
		t.Errorf("says %q, want one line with the number of what was left out", got)
	}
	for line := range bytes.Lines(<-read) {
		if _, err := parseRecord(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}
