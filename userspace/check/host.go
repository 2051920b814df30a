package check

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is where the facts come from. Tests make one of a directory.
type Host struct {
	// Root stands before every path, "/" for the real host.
	Root string
	// Release returns the kernel's release as uname -r prints it.
	Release func() (string, error)
	// MemlockLimit returns the soft RLIMIT_MEMLOCK in bytes, math.MaxUint64
	// for none.
	MemlockLimit func() (uint64, error)
}

// System returns the host this process runs on.
func System() Host {
	return Host{Root: "/", Release: kernelRelease, MemlockLimit: memlockLimit}
}

func kernelRelease() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("asking for the kernel release: %w", err)
	}
	return unix.ByteSliceToString(uts.Release[:]), nil
}

func memlockLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, fmt.Errorf("asking for RLIMIT_MEMLOCK: %w", err)
	}
	if limit.Cur == unix.RLIM_INFINITY {
		return math.MaxUint64, nil
	}
	return limit.Cur, nil
}

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// read returns a small file's text without the newline at its end.
func (h Host) read(name string) (string, error) {
	text, err := os.ReadFile(h.path(name))
	return strings.TrimRight(string(text), "\n\x00"), err
}

// status returns a field of /proc/self/status, "" if it is not there.
func (h Host) status(field string) string {
	text, err := h.read("proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// namespace returns the inode number of one of this process' namespaces in
// decimal, "" if /proc does not tell.
func (h Host) namespace(kind string) string {
	link, err := os.Readlink(h.path("proc/self/ns/" + kind))
	if err != nil {
		return ""
	}
	inode, found := strings.CutPrefix(link, kind+":[")
	if !found {
		return ""
	}
	return strings.TrimSuffix(inode, "]")
}

// version is a kernel's major and minor number.
type version struct{ major, minor int }

func parseVersion(release string) (version, bool) {
	var v version
	n, _ := fmt.Sscanf(release, "%d.%d", &v.major, &v.minor)
	return v, n == 2
}

func (v version) less(other version) bool {
	return v.major < other.major || v.major == other.major && v.minor < other.minor
}

// older reports whether the kernel is known to be older than this version.
func (h Host) older(than version) bool {
	release, err := h.Release()
	if err != nil {
		return false
	}
	v, known := parseVersion(release)
	return known && v.less(than)
}
