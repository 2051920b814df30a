package sockdiag

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spacesMax bounds the network namespaces that are known; those beyond it are
// counted, and not looked at.
const spacesMax = 4096

// errGone says that a network namespace cannot be reached any more.
var errGone = errors.New("no process and no mount shows it")

// spaces are the network namespaces that can be entered. Nothing is kept open in
// them: a descriptor would keep a namespace alive after its last process.
type spaces struct {
	root string // of the proc file system
	own  uint32
	// paths are by inode number; that of the own one is not used.
	paths map[uint32]string
	// order is that of the inode numbers as they were found.
	order []uint32
	// denied are those that must not be entered.
	denied map[uint32]bool
	// alone: none but the own one can be entered.
	alone bool
	// over counts those that were left out, ever.
	over uint64
}

func newSpaces(root string) (*spaces, error) {
	own, err := inodeOf(root + "/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("looking up own network namespace: %w", err)
	}
	s := &spaces{root: root, own: own, denied: map[uint32]bool{}}
	s.alone = !mayEnter(root)
	s.refresh()
	return s, nil
}

// mayEnter tries what entering takes, CAP_SYS_ADMIN, on the own namespace.
func mayEnter(root string) bool {
	f, err := os.Open(root + "/thread-self/ns/net")
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET) == nil
}

func inodeOf(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return uint32(st.Ino), nil
}

// refresh looks which namespaces there are: those of processes, and those that
// are mounted somewhere (ip-netns, container runtimes).
func (s *spaces) refresh() {
	s.paths, s.order = map[uint32]string{s.own: ""}, append(s.order[:0], s.own)
	if s.alone {
		return
	}
	s.ofProcesses()
	s.ofMounts()
	for inode := range s.denied {
		if _, there := s.paths[inode]; !there {
			delete(s.denied, inode)
		}
	}
}

func (s *spaces) add(inode uint32, path string) {
	if _, known := s.paths[inode]; known {
		return
	}
	if len(s.order) >= spacesMax {
		s.over++
		return
	}
	s.paths[inode], s.order = path, append(s.order, inode)
}

func (s *spaces) ofProcesses() {
	dir, err := os.Open(s.root)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read before an error counts
	var link [64]byte
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		path := s.root + "/" + name + "/ns/net"
		n, err := unix.Readlink(path, link[:])
		if err != nil {
			continue
		}
		if inode, ok := parseInode(link[:n], "net"); ok {
			s.add(uint32(inode), path)
		}
	}
}

// ofMounts reads proc(5) mountinfo: id parent device ROOT MOUNTPOINT … - nsfs …, where
// the root of a namespace's mount is net:[INODE].
func (s *spaces) ofMounts() {
	f, err := os.Open(s.root + "/self/mountinfo")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewReader(f); ; {
		line, rest, err := lines.ReadLine()
		if err != nil {
			return
		}
		// What counts stands at the beginning of the line.
		fields := bytes.Fields(line)
		for rest && err == nil {
			_, rest, err = lines.ReadLine()
		}
		if len(fields) < 5 {
			continue
		}
		if inode, ok := parseInode(fields[3], "net"); ok {
			s.add(uint32(inode), unescape(string(fields[4])))
		}
	}
}

// parseInode reads KIND:[NUMBER], as links to namespaces and sockets say.
func parseInode(text []byte, kind string) (uint64, bool) {
	rest, ok := bytes.CutPrefix(text, []byte(kind))
	if !ok || len(rest) < 4 || rest[0] != ':' || rest[1] != '[' || rest[len(rest)-1] != ']' {
		return 0, false
	}
	n := uint64(0)
	for _, c := range rest[2 : len(rest)-1] {
		if c < '0' || c > '9' || n > 1<<32 {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// unescape undoes proc(5)'s \040 for spaces and the like.
func unescape(path string) string {
	if !strings.Contains(path, `\`) {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// in runs fn on a thread that is in a network namespace. The error is errGone where
// there is no such namespace any more, fs.ErrPermission where it must not be entered.
func (s *spaces) in(inode uint32, fn func() error) error {
	if inode == s.own {
		return fn()
	}
	if s.denied[inode] {
		return fs.ErrPermission
	}
	target, err := s.open(inode)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	back, err := os.Open(s.root + "/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("opening own network namespace: %w", err)
	}
	defer back.Close()
	runtime.LockOSThread()
	if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		s.denied[inode] = errors.Is(err, fs.ErrPermission)
		return fmt.Errorf("entering network namespace %d: %w", inode, err)
	}
	err = fn()
	if back := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and ends with its goroutine: it must not
		// serve another one in the wrong namespace.
		return fmt.Errorf("returning to own network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// open opens a namespace, if its path still leads to it.
func (s *spaces) open(inode uint32) (int, error) {
	fd, err := openIf(s.paths[inode], inode)
	if !errors.Is(err, errGone) {
		return fd, err
	}
	// The process is gone; another one may still be there.
	s.refresh()
	return openIf(s.paths[inode], inode)
}

// openIf opens a namespace; errGone if the path does not lead to it.
func openIf(path string, inode uint32) (int, error) {
	if path == "" {
		return -1, errGone
	}
	// O_NONBLOCK: what a mount point has become must not make this wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		return -1, fmt.Errorf("opening network namespace: %w", err)
	case err != nil:
		return -1, errGone
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || uint32(st.Ino) != inode {
		unix.Close(fd)
		return -1, errGone
	}
	return fd, nil
}
