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

// programsMax bounds the cache; a host with more holders than that at once
// reads /proc again.
const programsMax = 4096

type programKey struct {
	pid   uint32
	start time.Duration
}

// procFS reads /proc, and believes it only where the process is still the one
// that was meant.
type procFS struct {
	root  string
	cache map[programKey]program
}

func newProcFS(root string) *procFS {
	return &procFS{root: root, cache: make(map[programKey]program)}
}

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
	// CAP_SYS_PTRACE) or missing (a kernel thread).
	target, err := os.Readlink(p.file(pid, "exe"))
	prog := program{path: strings.TrimSuffix(target, " (deleted)"), kernel: os.IsNotExist(err)}
	// Read after the link: a pid that was reused before shows here.
	began, ok := p.started(pid)
	if !ok || !sameStart(began, start) {
		return program{}, false
	}
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
	ticks, ok := startTicks(stat)
	return time.Duration(ticks) * (time.Second / userHZ), ok
}

// startTicks finds field 22 of /proc/PID/stat. The name in field 2 may hold
// anything, spaces and parentheses included; the last ')' ends it.
func startTicks(stat []byte) (uint64, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	const startTime = 22 - 3 // fields after the name count from 3
	fields := bytes.Fields(stat[i+1:])
	if len(fields) <= startTime {
		return 0, false
	}
	ticks, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	return ticks, err == nil
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
