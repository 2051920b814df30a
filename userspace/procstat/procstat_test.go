package procstat

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// line is the file's text.
func line(name string, flags uint64, ticks, stack string) string {
	return fmt.Sprintf("42 (%s) S 1 42 42 0 -1 %d 100 0 0 0 1 2 0 0 20 0 1 0 %s 1000000 200 18446744073709551615 1 1 %s 0 0 0\n",
		name, flags, ticks, stack)
}

func TestParse(t *testing.T) {
	const user, start = 0x400040, 9876540 * time.Millisecond
	largest := strconv.FormatUint(math.MaxInt64/uint64(tick), 10)
	tests := []struct {
		name, stat string
		want       Process
	}{
		{"plain", line("curl", user, "987654", "140737488347136"), Process{Name: "curl", Start: start, Stack: 0x7fffffffe000}},
		{"no name", line("", user, "987654", "0"), Process{Start: start}},
		{"a name like fields", line("x) S 1 2 3 4 5 6 7 8 9", user, "987654", "0"), Process{Name: "x) S 1 2 3 4 5 6 7 8 9", Start: start}},
		{"a name like an end", line(") 1 (x", user, "987654", "0"), Process{Name: ") 1 (x", Start: start}},
		{"parentheses only", line("))))))", user, "987654", "0"), Process{Name: "))))))", Start: start}},
		{"spaces and line ends", line("a\n b\t", user, "987654", "0"), Process{Name: "a\n b\t", Start: start}},
		{"not UTF-8", line("\xff\xfe", user, "987654", "0"), Process{Name: "\xff\xfe", Start: start}},
		{"a kernel thread", line("kthreadd", kernelThread|0x8000, "0", "0"), Process{Name: "kthreadd", Kernel: true}},
		{"not to be read", line("sshd", user, "987654", "1"), Process{Name: "sshd", Start: start}},
		{"a stack that is no number", line("sshd", user, "987654", "x"), Process{Name: "sshd", Start: start}},
		{"nothing behind the start", "42 (x) S" + strings.Repeat(" 0", 18) + " 987654", Process{Name: "x", Start: start}},
		{"the latest", line("x", user, largest, "0"), Process{Name: "x", Start: time.Duration(math.MaxInt64 / tick * tick)}},
	}
	for _, tt := range tests {
		if got, ok := Parse([]byte(tt.stat)); !ok || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, ok, tt.want)
		}
	}
}

func TestParseNonsense(t *testing.T) {
	for name, stat := range map[string]string{
		"empty":               "",
		"cut off":             "42 (curl) S 1 42",
		"cut off in the name": "42 (curl",
		"no start":            "42 (x) S" + strings.Repeat(" 0", 18),
		"no name":             "42 curl) S" + strings.Repeat(" 0", 30),
		"turned around":       ")(" + strings.Repeat(" 0", 30),
		"too late":            line("x", 0, strconv.FormatUint(math.MaxInt64/uint64(tick)+1, 10), "0"),
		"too large":           line("x", 0, "18446744073709551616", "0"),
		"negative":            line("x", 0, "-1", "0"),
		"not a number":        line("x", 0, "x", "0"),
		"flags no number":     "42 (x) S" + strings.Repeat(" -1", 30),
	} {
		if got, ok := Parse([]byte(stat)); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever a program calls itself, its start is read.
func FuzzParse(f *testing.F) {
	f.Add([]byte("curl"), uint64(1))
	f.Add([]byte(") 1 (x"), uint64(987654))
	f.Add([]byte("a b\n)) S 1 2 3"), uint64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text []byte, ticks uint64) {
		if p, ok := Parse(text); ok && p.Start < 0 {
			t.Errorf("%q started %v before boot", text, -p.Start)
		}
		ticks %= math.MaxInt64/uint64(tick) + 1
		p, ok := Parse([]byte(line(string(text), 0, strconv.FormatUint(ticks, 10), "0")))
		want := Process{Name: string(text), Start: time.Duration(ticks) * tick}
		if !ok || p != want {
			t.Fatalf("%q: %+v, %v, want %+v", text, p, ok, want)
		}
	})
}

func TestBegan(t *testing.T) {
	p := Process{Start: 400*time.Second + 120*time.Millisecond}
	for kernel, want := range map[time.Duration]bool{
		p.Start: true, p.Start + tick - 1: true, p.Start + tick: false, p.Start - 1: false, 0: false,
	} {
		if got := p.Began(kernel); got != want {
			t.Errorf("a process of %v began at %v: %v", p.Start, kernel, got)
		}
	}
}

// The real /proc, as far as every Linux has it.
func TestRead(t *testing.T) {
	self, ok := Read(filepath.Join("/proc", strconv.Itoa(os.Getpid())))
	if !ok {
		t.Skip("there is no /proc")
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if self.Kernel || self.Name == "" || !strings.HasPrefix(filepath.Base(path), self.Name) || self.Start <= 0 {
		t.Errorf("this process is %+v", self)
	}
	if p, ok := Read(t.TempDir()); ok {
		t.Errorf("a process that is gone is %+v", p)
	}
}
