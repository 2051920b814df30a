package owner

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStatField(t *testing.T) {
	const after = " S 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000000 200 18446744073709551615"
	tests := []struct {
		name, stat string
		want       uint64
		ok         bool
	}{
		{"plain", "42 (curl)" + after, 987654, true},
		{"with a newline", "42 (curl)" + after + "\n", 987654, true},
		{"no name", "42 ()" + after, 987654, true},
		{"a name like fields", "42 (x) S 1 2 3 4 5 6 7 8 9)" + after, 987654, true},
		{"a name like an end", "42 () 1 (x)" + after, 987654, true},
		{"parentheses only", "42 ()))))))" + after, 987654, true},
		{"spaces and line ends", "42 (a\n b\t)" + after, 987654, true},
		{"not UTF-8", "42 (\xff\xfe)" + after, 987654, true},
		{"the largest", "1 (x) S" + strings.Repeat(" 0", 18) + " 18446744073709551615", 1<<64 - 1, true},
		{"too large", "1 (x) S" + strings.Repeat(" 0", 18) + " 18446744073709551616", 0, false},
		{"negative", "1 (x) S" + strings.Repeat(" 0", 18) + " -1", 0, false},
		{"not a number", "1 (x) S" + strings.Repeat(" 0", 18) + " x", 0, false},
		{"cut off", "42 (curl) S 1 42", 0, false},
		{"cut off in the name", "42 (curl", 0, false},
		{"empty", "", 0, false},
	}
	for _, tt := range tests {
		if got, ok := statField([]byte(tt.stat), 22); ok != tt.ok || (ok && got != tt.want) {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	if got, ok := statField([]byte("42 (curl)"+after), 9); got != 4194304 || !ok {
		t.Errorf("flags %d, %v", got, ok)
	}
}

func TestParseStat(t *testing.T) {
	line := stat(42, ") S 1 2 (x", "S", 0x400040, 90*time.Second)
	if is, ok := parseStat([]byte(line)); !ok || is != (process{began: 90 * time.Second, name: ") S 1 2 (x"}) {
		t.Errorf("%+v, %v", is, ok)
	}
	line = stat(2, "kthreadd", "S", kthread|0x8000, 0)
	if is, ok := parseStat([]byte(line)); !ok || is != (process{name: "kthreadd", kernel: true}) {
		t.Errorf("%+v, %v", is, ok)
	}
	for _, bad := range []string{"", ")(", "42 curl) S" + strings.Repeat(" 0", 30), "42 (curl) S 1 2", "42 (x) S" + strings.Repeat(" -1", 30)} {
		if is, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is %+v", bad, is)
		}
	}
}

// Whatever a program calls itself, its start is read.
func FuzzStatField(f *testing.F) {
	f.Add([]byte("curl"), uint64(1))
	f.Add([]byte(") 1 (x"), uint64(987654))
	f.Add([]byte("a b\n)) S 1 2 3"), uint64(0))
	f.Fuzz(func(t *testing.T, comm []byte, ticks uint64) {
		parseStat(comm)
		line := stat(42, "COMM", "S", 0, 0)
		line = strings.Replace(line, " 20 0 1 0 0 ", " 20 0 1 0 TICKS ", 1)
		hostile := bytes.Replace([]byte(line), []byte("TICKS"), strconv.AppendUint(nil, ticks, 10), 1)
		hostile = bytes.Replace(hostile, []byte("COMM"), comm, 1)
		if got, ok := statField(hostile, 22); !ok || got != ticks {
			t.Fatalf("%q: %d, %v, want %d", hostile, got, ok, ticks)
		}
		if is, ok := parseStat(hostile); !ok || is.name != string(comm) || is.kernel {
			t.Fatalf("%q: %+v, %v, want the name %q", hostile, is, ok, comm)
		}
	})
}

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
	if is.kernel || is.name == "" || !strings.HasPrefix(filepath.Base(want), is.name) {
		t.Errorf("this process is %+v", is)
	}
	if path, ok := fs.program(pid, is.began); !ok || path != want {
		t.Errorf("this program is %q, %v, want %q", path, ok, want)
	}
	if path, ok := fs.program(pid, is.began+time.Second); ok {
		t.Errorf("a process that started later is %q", path)
	}
}
