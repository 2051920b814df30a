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

// process is what /proc/PID/stat tells.
type process struct {
	// began is when it started, since boot, in hundredths and rounded down.
	began time.Duration
	// name is that of its first thread, not sanitised.
	name string
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
	cache map[programKey]string
}

func newProcFS(root string) *procFS {
	return &procFS{root: root, cache: make(map[programKey]string)}
}

func (p *procFS) forget() { clear(p.cache) }

func (p *procFS) file(pid uint32, name string) string {
	return p.root + "/" + strconv.FormatUint(uint64(pid), 10) + "/" + name
}

// program returns the path of what runs as pid, "" if that cannot be read, if
// the process is the one that started at the given time since boot; false if that
// is gone.
func (p *procFS) program(pid uint32, start time.Duration) (string, bool) {
	key := programKey{pid, start}
	if path, ok := p.cache[key]; ok {
		return path, true
	}
	// The link may be unreadable (another user's process, without
	// CAP_SYS_PTRACE) or missing (a kernel thread, a zombie).
	target, _ := os.Readlink(p.file(pid, "exe"))
	// Read after the link: a pid that was reused before shows here.
	is, ok := p.process(pid)
	if !ok || !sameStart(is.began, start) {
		return "", false
	}
	if len(p.cache) >= programsMax {
		clear(p.cache)
	}
	path := strings.TrimSuffix(target, " (deleted)")
	p.cache[key] = path
	return path, true
}

// process returns what is pid now, false if nothing is.
func (p *procFS) process(pid uint32) (process, bool) {
	stat, err := os.ReadFile(p.file(pid, "stat"))
	if err != nil {
		return process{}, false
	}
	return parseStat(stat)
}

func parseStat(stat []byte) (process, bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	ticks, ok := statField(stat, 22)
	flags, known := statField(stat, 9)
	if !ok || !known || begin < 0 || begin >= end {
		return process{}, false
	}
	return process{
		began:  time.Duration(ticks) * (time.Second / userHZ),
		name:   string(stat[begin+1 : end]),
		kernel: flags&kernelThread != 0,
	}, true
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
