// Package host reads what the machine and the kernel tell about processes and
// BPF programs.
package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpu returns the user and system time of a process and of all its threads,
// ended ones included. It is the sum of utime and stime of /proc/PID/stat, in
// nanoseconds instead of ticks of 10 ms: the clock of the process
// (clock_getcpuclockid(3), kernel/time/posix-cpu-timers.c).
func cpu(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuclockSched, &ts); err != nil {
		return 0, fmt.Errorf("reading CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Memory is what /proc/PID/status says, in bytes.
type Memory struct {
	RSS, Peak, Anonymous int64
}

// readMemory returns the resident memory of a process.
func readMemory(pid int) (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("reading memory of process %d: %w", pid, err)
	}
	return parseMemory(b)
}

func parseMemory(status []byte) (Memory, error) {
	var m Memory
	found := 0
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		to := map[string]*int64{"VmRSS": &m.RSS, "VmHWM": &m.Peak, "RssAnon": &m.Anonymous}[name]
		if to == nil {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("reading %s: %w", name, err)
		}
		*to = kb << 10
		found++
	}
	if found != 3 {
		return Memory{}, fmt.Errorf("reading memory: %d of 3 values in the process's status", found)
	}
	return m, nil
}

// Times is the CPU time of the whole machine since boot.
type Times struct {
	User  time.Duration // user and nice
	Steal time.Duration // taken by the hypervisor
}

// ReadTimes reads /proc/stat.
func ReadTimes() (Times, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Times{}, fmt.Errorf("reading CPU times: %w", err)
	}
	return parseTimes(b)
}

// tick is a unit of /proc: USER_HZ is 100 on all architectures of Linux that
// Go knows.
const tick = 10 * time.Millisecond

func parseTimes(stat []byte) (Times, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return Times{}, fmt.Errorf("reading CPU times: first line of /proc/stat is %q", line)
	}
	var v [8]time.Duration
	for i := range v {
		n, err := strconv.ParseInt(f[i+1], 10, 64)
		if err != nil {
			return Times{}, fmt.Errorf("reading CPU times: %w", err)
		}
		v[i] = time.Duration(n) * tick
	}
	return Times{User: v[0] + v[1], Steal: v[7]}, nil
}

// userTime returns the user time of a process, to 10 ms.
func userTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading user time of process %d: %w", pid, err)
	}
	return parseUserTime(b)
}

// parseUserTime reads field 14 of proc_pid_stat(5); the name of the program,
// field 2, may contain anything, so count from its last parenthesis.
func parseUserTime(stat []byte) (time.Duration, error) {
	i := bytes.LastIndexByte(stat, ')')
	f := bytes.Fields(stat[i+1:])
	const utime = 14 - 3
	if i < 0 || len(f) <= utime {
		return 0, fmt.Errorf("reading user time: %q is not the status of a process", stat)
	}
	n, err := strconv.ParseInt(string(f[utime]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading user time: %w", err)
	}
	return time.Duration(n) * tick, nil
}

// Monotonic returns the time of CLOCK_MONOTONIC, which all processes share.
func Monotonic() time.Duration {
	var ts unix.Timespec
	// It cannot fail on any Linux.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
