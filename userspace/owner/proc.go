// Package owner answers who has to do with a socket: every process that holds
// it now, else who closed or connected it, else who listens where it waits.
package owner

import (
	"bytes"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of /proc/PID/stat's times on every architecture the
// kernel exports to user space (include/asm-generic/param.h).
const userHZ = 100

// program is what /proc tells about a process.
type program struct {
	path string
	// kernel marks a kernel thread; it has no program and owns no socket of
	// a user's.
	kernel bool
}

// programsMax bounds the cache; an answer with more processes than that reads
// /proc again.
const programsMax = 4096

// kernelThread is PF_KTHREAD (include/linux/sched.h), in the flags of
// /proc/PID/stat. A missing link would not do: a zombie has none either.
const kernelThread = 0x00200000

type programKey struct {
	pid   uint32
	start time.Duration
}

// procFS reads /proc, and believes it only where the process is still the one
// that was meant.
type procFS struct {
	root string
	// cache holds for one answer: execve changes the program of a process.
	cache map[programKey]program
}

func newProcFS(root string) *procFS {
	return &procFS{root: root, cache: make(map[programKey]program)}
}

func (p *procFS) forget() { clear(p.cache) }

func (p *procFS) file(pid uint32, name string) string {
	return p.root + "/" + strconv.FormatUint(uint64(pid), 10) + "/" + name
}

// program returns what runs as pid, if the process is the one that started at
// the given time since boot; false if that is gone.
func (p *procFS) program(pid uint32, start time.Duration) (program, bool) {
	key := programKey{pid, start}
	if prog, ok := p.cache[key]; ok {
		return prog, true
	}
	// The link may be unreadable (another user's process, without
	// CAP_SYS_PTRACE) or missing (a kernel thread, a zombie): no path then.
	target, _ := os.Readlink(p.file(pid, "exe"))
	// Read after the link: a pid that was reused before shows here.
	stat, err := os.ReadFile(p.file(pid, "stat"))
	if err != nil {
		return program{}, false
	}
	began, ok := startTime(stat)
	if !ok || !sameStart(began, start) {
		return program{}, false
	}
	flags, _ := statField(stat, 9)
	prog := program{path: strings.TrimSuffix(target, " (deleted)"), kernel: flags&kernelThread != 0}
	if len(p.cache) >= programsMax {
		clear(p.cache)
	}
	p.cache[key] = prog
	return prog, true
}

// started returns when the process that is pid now started, since boot.
func (p *procFS) started(pid uint32) (time.Duration, bool) {
	stat, err := os.ReadFile(p.file(pid, "stat"))
	if err != nil {
		return 0, false
	}
	return startTime(stat)
}

// startTime returns field 22 of /proc/PID/stat as a time since boot.
func startTime(stat []byte) (time.Duration, bool) {
	ticks, ok := statField(stat, 22)
	return time.Duration(ticks) * (time.Second / userHZ), ok
}

// statField finds a number in /proc/PID/stat by its place in proc(5), 4 or
// higher. The name in field 2 may hold anything, spaces and parentheses
// included; the last ')' ends it.
func statField(stat []byte, place int) (uint64, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[i+1:])
	if place -= 3; len(fields) <= place {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[place]), 10, 64)
	return n, err == nil
}

// sameStart compares the kernel's nanoseconds with /proc's hundredths, which
// are cut off, not rounded.
func sameStart(proc, kernel time.Duration) bool {
	return proc == kernel.Truncate(time.Second/userHZ)
}

func baseName(p string) string {
	if p == "" {
		return ""
	}
	return path.Base(p)
}
