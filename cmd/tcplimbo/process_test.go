package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestUnwritableOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no /dev/full: %v", err)
	}
	defer full.Close()
	for _, args := range [][]string{
		{},
		{"--help"},
		{"--version"},
		{"version"},
		{"version", "-o", "json"},
		{"check"},
		{"check", "-o", "json"},
		{"help", "run"},
		{"run", "--help"},
		{"completion", "bash"},
		{"man"},
		{"__complete", ""},
	} {
		cmd := program(t, args...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = full, &errs
		_ = cmd.Run()
		want := "tcplimbo: writing to standard output: write /dev/stdout: no space left on device; make room there"
		if got := oneLine(t, errs.String()); cmd.ProcessState.ExitCode() != 1 || got != want {
			t.Errorf("%v: %d %s", args, cmd.ProcessState.ExitCode(), got)
		}
	}
}

// TestUnprivileged runs the real program without any capability.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become nobody")
	}
	for args, want := range map[string]int{
		"run --source ebpf": 77, "list --source ebpf": 77, "run --source auto --duration 100ms --metrics-addr=": 0, "list": 0, "trace": 77, "check": 77, "version": 0, "completion bash": 0,
	} {
		cmd := program(t, strings.Fields(args)...)
		self, err := os.CreateTemp("", "tcplimbo-*")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(self.Name()) })
		copyProgram(t, cmd.Path, self)
		cmd.Path, cmd.Dir = self.Name(), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: exit code %d, want %d: %s", args, got, want, errs.String())
		}
		if want != 0 && !strings.HasPrefix(oneLine(t, errs.String()), "tcplimbo: ") {
			t.Errorf("%s: %s", args, errs.String())
		}
		if args == "check" && !strings.Contains(out.String(), "fail  cap_bpf           not held — no program can be loaded — sudo, setcap") {
			t.Errorf("check says:\n%s", out.String())
		}
	}
}

// copyProgram makes a copy that everybody may execute: the test binary is in a
// directory of root's.
func copyProgram(t *testing.T, from string, to *os.File) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if _, err := io.Copy(to, source); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Chmod(0o755), to.Close()); err != nil {
		t.Fatal(err)
	}
}
