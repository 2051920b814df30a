// Package owner answers who has to do with a socket: every process that holds
// it now, else who closed or connected it, else who listens where it waits.
package owner

import (
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/procstat"
)

// programsMax bounds the cache; an answer with more processes than that reads
// /proc again.
const programsMax = 4096

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

func (p *procFS) dir(pid uint32) string { return p.root + "/" + strconv.FormatUint(uint64(pid), 10) }

func (p *procFS) file(pid uint32, name string) string { return p.dir(pid) + "/" + name }

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
	if !ok || !is.Began(start) {
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
func (p *procFS) process(pid uint32) (procstat.Process, bool) {
	return procstat.Read(p.dir(pid))
}

func baseName(p string) string {
	if p == "" {
		return ""
	}
	return path.Base(p)
}
