package owner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProgram(t *testing.T) {
	const start = 400*time.Second + 120*time.Millisecond
	tests := []struct {
		name, exe string
		asked     time.Duration
		path      string
		ok        bool
	}{
		{"plain", "/usr/bin/curl", start, "/usr/bin/curl", true},
		{"within a hundredth", "/usr/bin/curl", start + 9_999_999, "/usr/bin/curl", true},
		{"the next hundredth", "/usr/bin/curl", start + 10*time.Millisecond, "", false},
		{"the hundredth before", "/usr/bin/curl", start - 1, "", false},
		{"deleted", "/usr/bin/curl (deleted)", start, "/usr/bin/curl", true},
		{"deleted, and called so", "/tmp/x (deleted) (deleted)", start, "/tmp/x (deleted)", true},
		{"hostile", "/tmp/\x1b[2J\n(deleted)", start, "/tmp/\x1b[2J\n(deleted)", true},
		{"memory", "/memfd:x (deleted)", start, "/memfd:x", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proc := newFakeProc(t)
			proc.run(42, start, tt.exe)
			path, ok := newProcFS(proc.root).program(42, tt.asked)
			if ok != tt.ok || path != tt.path {
				t.Errorf("program %q, %v, want %q, %v", path, ok, tt.path, tt.ok)
			}
		})
	}
}

func TestProgramThatCannotBeRead(t *testing.T) {
	proc := newFakeProc(t)
	fs := newProcFS(proc.root)
	if path, ok := fs.program(42, 0); ok {
		t.Errorf("a pid that is not there runs %q", path)
	}
	// A link that may not be read: here one that is none.
	proc.write(42, stat(42, "x", "S", 0, time.Second))
	if err := os.WriteFile(filepath.Join(proc.root, "42", "exe"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if path, ok := fs.program(42, time.Second); !ok || path != "" {
		t.Errorf("program %q, %v, want one without a path", path, ok)
	}
	proc.write(43, "nonsense")
	if _, ok := fs.program(43, time.Second); ok {
		t.Error("a stat that says nothing is believed")
	}
}

// What is remembered of a process holds as long as the process does, and not
// from one answer to the next: it may have called execve.
func TestProgramChanges(t *testing.T) {
	proc := newFakeProc(t)
	proc.run(30, time.Second, "/bin/sh")
	s := conn()
	source := &fakeSource{}
	source.held = append(source.held, holds(s, 30, 5, time.Second))
	r := New(source, proc.root)
	if p := resolve(t, r, Query{Sock: s}).Result.Process; p.Path != "/bin/sh" {
		t.Fatalf("runs %q", p.Path)
	}
	proc.exec(30, "/usr/bin/api")
	if p := resolve(t, r, Query{Sock: s}).Result.Process; p.Path != "/usr/bin/api" {
		t.Errorf("runs %q after execve", p.Path)
	}
	proc.exit(30)
	if p := resolve(t, r, Query{Sock: s}).Result.Process; p.Path != "" {
		t.Errorf("runs %q after its end", p.Path)
	}
}

// The memory for programs is bounded however many processes there are.
func TestProgramCacheIsBounded(t *testing.T) {
	proc := newFakeProc(t)
	proc.run(42, time.Second, "/bin/sh")
	fs := newProcFS(proc.root)
	for i := range 3 * programsMax {
		fs.program(42, time.Second+time.Duration(i%10_000_000))
	}
	if len(fs.cache) > programsMax {
		t.Errorf("%d programs are kept", len(fs.cache))
	}
}

// The real /proc, as far as every Linux has it.
func TestThisProcess(t *testing.T) {
	fs := newProcFS("/proc")
	pid := uint32(os.Getpid())
	is, ok := fs.process(pid)
	if !ok {
		t.Skip("there is no /proc")
	}
	want, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if is.Kernel || is.Name == "" || !strings.HasPrefix(filepath.Base(want), is.Name) {
		t.Errorf("this process is %+v", is)
	}
	if path, ok := fs.program(pid, is.Start); !ok || path != want {
		t.Errorf("this program is %q, %v, want %q", path, ok, want)
	}
	if path, ok := fs.program(pid, is.Start+time.Second); ok {
		t.Errorf("a process that started later is %q", path)
	}
}
