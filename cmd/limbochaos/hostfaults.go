package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// diskSize is the log file's disk, diskLeft what is free of it at first and each
// time that somebody makes room.
const (
	diskSize = 16 << 20
	diskLeft = 32 << 10
)

// fullDisk puts the log file on a file system that is soon full. Standard output,
// which the oracle reads, must not suffer.
func fullDisk(r *round) error {
	disk := filepath.Join(r.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		return fmt.Errorf("making a small disk: %w", err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		return fmt.Errorf("mounting a small disk: %w", err)
	}
	r.undo = append(r.undo, func() error { return unix.Unmount(disk, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, diskSize-diskLeft), 0o600); err != nil {
		return fmt.Errorf("filling a small disk: %w", err)
	}
	r.launch.args = append(r.launch.args, "--log-file", filepath.Join(disk, "findings.json"))
	return nil
}

// emptyDisk makes room whenever the disk is full.
func emptyDisk(r *round, ctx context.Context) error {
	disk := filepath.Join(r.dir, "disk")
	filled, filler := 0, int64(diskSize-diskLeft)
	for ctx.Err() == nil {
		wait(ctx, 100*time.Millisecond)
		var fs unix.Statfs_t
		if err := unix.Statfs(disk, &fs); err != nil {
			return fmt.Errorf("looking at the small disk: %w", err)
		}
		if fs.Bavail > 0 {
			continue
		}
		filled++
		wait(ctx, r.between(0, time.Second))
		filler -= diskLeft
		if err := os.Truncate(filepath.Join(disk, "filler"), filler); err != nil {
			return fmt.Errorf("making room on the small disk: %w", err)
		}
	}
	r.note("the disk was full %d times", filled)
	if filled == 0 {
		r.problems = append(r.problems, "the disk was never full: this round proves nothing")
	}
	return os.Truncate(filepath.Join(disk, "filler"), 0)
}

// readDisk sees that what stands in the log file is lines: what did not fit was
// left out, not cut.
func readDisk(r *round) {
	text, err := os.ReadFile(filepath.Join(r.dir, "disk", "findings.json"))
	if err == nil {
		err = wholeLines(text)
	}
	if err != nil {
		r.problems = append(r.problems, fmt.Sprintf("the log file: %v", err))
	}
}

// wholeLines: all that has an end is a line.
func wholeLines(text []byte) error {
	for i, line := range splitLines(text) {
		if _, err := parseRecord(line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

// splitLines returns the lines that have an end.
func splitLines(text []byte) (lines [][]byte) {
	begin := 0
	for i, b := range text {
		if b == '\n' {
			lines, begin = append(lines, text[begin:i]), i+1
		}
	}
	return lines
}

// memoryLimit is what the agent may take in all: some above what it needs.
const memoryLimit = 64 << 20

// littleMemory starts the agent in a cgroup with a limit. Where none can be made,
// Go's own limit stands in.
func littleMemory(r *round) error {
	r.launch.env = append(r.launch.env, "GOMEMLIMIT=40MiB")
	name := "limbochaos-" + strconv.Itoa(os.Getpid())
	for _, c := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(c.root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		remove := func() error { return os.Remove(dir) }
		if err := os.WriteFile(filepath.Join(dir, c.limit), []byte(strconv.Itoa(memoryLimit)), 0o644); err != nil {
			_ = remove()
			continue
		}
		r.undo = append(r.undo, remove)
		r.launch.group = filepath.Join(dir, "cgroup.procs")
		r.note("cgroup with %d MiB", memoryLimit>>20)
		return nil
	}
	r.note("no cgroup can be made here: GOMEMLIMIT alone")
	return nil
}

// reusedPids: processes make orphans and end; sleeps get their pids.
func reusedPids(r *round, ctx context.Context) error {
	reused := 0
	for ctx.Err() == nil {
		ns, _, err := r.space()
		if err != nil {
			return err
		}
		c, err := workload.StartChild(workload.ChildOptions{NS: ns})
		if err != nil {
			return err
		}
		_, truths, err := c.Make(workload.Spec{Kind: workload.FinWait2Orphaned, Count: 1 + r.rnd.IntN(4)})
		if err != nil {
			return errors.Join(err, c.Close())
		}
		// Who has the pid now has nothing to do with it.
		pid := c.PID
		lives := r.j.born(truths)
		if err := c.Kill(); err != nil {
			return err
		}
		for _, l := range lives {
			l.Truth.PID, l.Truth.FD = -1, -1
		}
		ok, err := r.takePid(pid)
		if err != nil {
			return err
		}
		if ok {
			reused++
		}
		wait(ctx, r.between(0, time.Second))
	}
	r.note("%d pids had again", reused)
	return nil
}

// takePid starts a sleep with a pid that has become free, false if somebody else
// has it.
func (r *round) takePid(pid int) (bool, error) {
	const tries = 50
	for range tries {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0o644); err != nil {
			return false, fmt.Errorf("choosing a pid: %w", err)
		}
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			return false, fmt.Errorf("starting a process: %w", err)
		}
		end := func() error { _ = cmd.Process.Kill(); _ = cmd.Wait(); return nil }
		if cmd.Process.Pid == pid {
			r.undo = append(r.undo, end)
			return true, nil
		}
		_ = end()
	}
	return false, nil
}

// stepClock sets the wall clock forth and back by an hour, and at last where it
// would be.
func stepClock(r *round, ctx context.Context) error {
	steps, off := 0, time.Duration(0)
	set := func(by time.Duration) error {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
			return fmt.Errorf("reading the clock: %w", err)
		}
		ts = unix.NsecToTimespec(ts.Nano() + by.Nanoseconds())
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			return fmt.Errorf("setting the clock (CAP_SYS_TIME is needed): %w", err)
		}
		off += by
		return nil
	}
	r.undo = append(r.undo, func() error { return set(-off) })
	for ctx.Err() == nil {
		wait(ctx, r.between(200*time.Millisecond, 2*time.Second))
		by := time.Hour
		if off > 0 || off == 0 && r.rnd.IntN(2) == 0 {
			by = -time.Hour
		}
		if err := set(by); err != nil {
			return err
		}
		steps++
	}
	r.note("%d steps of an hour", steps)
	return nil
}
