package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Group returns the processes of a process group: a tool may be a pipeline.
func Group(pgid int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		if pid, group, ok := parseGroup(b); ok && group == pgid {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("listing processes: %w in group %d", os.ErrNotExist, pgid)
	}
	return pids, nil
}

// parseGroup reads fields 1 and 5 of proc_pid_stat(5).
func parseGroup(stat []byte) (pid, group int, ok bool) {
	first, _, _ := bytes.Cut(stat, []byte(" "))
	i := bytes.LastIndexByte(stat, ')')
	f := bytes.Fields(stat[i+1:])
	if i < 0 || len(f) < 3 {
		return 0, 0, false
	}
	pid, err := strconv.Atoi(string(first))
	if err != nil {
		return 0, 0, false
	}
	group, err = strconv.Atoi(string(f[2]))
	return pid, group, err == nil
}

// gone says that an error means that the process has ended.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

// Usage is what the processes of a group use.
type Usage struct {
	CPU, User time.Duration // User to 10 ms
	Memory    Memory
}

// ReadUsage adds up the processes of a group.
func ReadUsage(pgid int) (Usage, error) {
	pids, err := Group(pgid)
	if err != nil {
		return Usage{}, err
	}
	var sum Usage
	for _, pid := range pids {
		u, err := readUsage(pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return Usage{}, err
		}
		sum.CPU += u.CPU
		sum.User += u.User
		sum.Memory.RSS += u.Memory.RSS
		sum.Memory.Peak += u.Memory.Peak
		sum.Memory.Anonymous += u.Memory.Anonymous
	}
	return sum, nil
}

func readUsage(pid int) (u Usage, err error) {
	if u.CPU, err = cpu(pid); err != nil {
		return Usage{}, err
	}
	if u.User, err = userTime(pid); err != nil {
		return Usage{}, err
	}
	u.Memory, err = readMemory(pid)
	return u, err
}
