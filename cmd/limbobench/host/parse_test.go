package host

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestParseMemory(t *testing.T) {
	const status = "Name:\ta)b\nVmPeak:\t 9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\nRssAnon:\t     512 kB\nThreads:\t3\n"
	got, err := parseMemory([]byte(status))
	if want := (Memory{RSS: 1 << 20, Peak: 2 << 20, Anonymous: 512 << 10}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", strings.Replace(status, "1024", "many", 1)} {
		if got, err := parseMemory([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestParseTimes(t *testing.T) {
	got, err := parseTimes([]byte("cpu  100 5 30 4000 1 2 3 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"))
	if want := (Times{User: 1050 * time.Millisecond, Steal: 70 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "cpu0 1 1 1 1 1 1 1 1\n", "cpu 1 2 3\n", "cpu a b c d e f g h\n"} {
		if got, err := parseTimes([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

// stat is proc_pid_stat(5) of a program that chose its name to mislead.
const stat = "4711 (a) R 1 2 (b) S 1 4242 3 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 3 0 1000 0 0\n"

func TestParseStat(t *testing.T) {
	if got, err := parseUserTime([]byte(stat)); err != nil || got != 1500*time.Millisecond {
		t.Errorf("user time: got %v, %v; want 1.5s", got, err)
	}
	pid, group, ok := parseGroup([]byte(stat))
	if !ok || pid != 4711 || group != 4242 {
		t.Errorf("group: got %d, %d, %v; want 4711, 4242", pid, group, ok)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) S", "x (x) S 1 2", "1 (x) S 1 y"} {
		if _, err := parseUserTime([]byte(bad)); err == nil {
			t.Errorf("%q: user time without an error", bad)
		}
		if _, _, ok := parseGroup([]byte(bad)); ok {
			t.Errorf("%q: a group", bad)
		}
	}
}

func TestProgramID(t *testing.T) {
	for _, tt := range []struct {
		fdinfo string
		want   ebpf.ProgramID
		ok     bool
	}{
		{"pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_id:\t2208\n", 2208, true},
		{"pos:\t0\nlink_type:\ttracing\nprog_id:\t7\ntarget_obj_id:\t1\n", 7, true},
		{"pos:\t0\nmap_id:\t7\n", 0, false},
		{"prog_id:\tmany\n", 0, false},
		{"", 0, false},
	} {
		if got, ok := programID(strings.NewReader(tt.fdinfo)); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %d, %v; want %d, %v", tt.fdinfo, got, ok, tt.want, tt.ok)
		}
	}
}

// TestOwnCPU compares the clock of a process, read from outside, with what the
// process itself is told.
func TestOwnCPU(t *testing.T) {
	outside, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	inside := time.Duration(ts.Nano())
	if outside <= 0 || outside > inside || inside-outside > time.Second {
		t.Errorf("got %s from outside and then %s from inside", outside, inside)
	}
}

func TestOwnUsage(t *testing.T) {
	u, err := ReadUsage(unix.Getpgrp())
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU <= 0 || u.Memory.RSS < 1<<20 || u.Memory.Peak < u.Memory.Anonymous {
		t.Errorf("got %+v", u)
	}
	const unlikely = 1<<22 + 1 // above PID_MAX_LIMIT
	if u, err := ReadUsage(unlikely); err == nil {
		t.Errorf("group %d: got %+v, want an error", unlikely, u)
	}
	if _, err := cpu(unlikely); !gone(err) {
		t.Errorf("process %d: got %v, want an error that says it is gone", unlikely, err)
	}
}

func TestMachine(t *testing.T) {
	m := Describe(t.TempDir())
	if m.Kernel == "" || m.CPUs < 1 || m.Memory == 0 || m.Commit != "" {
		t.Errorf("got %+v", m)
	}
	m.Commit, m.Time = "abc", time.Date(2026, 3, 9, 7, 5, 0, 0, time.UTC)
	for _, part := range []string{"Linux " + m.Kernel, "2026-03-09 07:05 UTC", "commit abc"} {
		if !strings.Contains(m.String(), part) {
			t.Errorf("%q is not in %q", part, m.String())
		}
	}
}
