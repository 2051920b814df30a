package origin

import (
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Groups finds the path of a cgroup of version 2 by its number, which is also the
// inode number of its directory (kernel/cgroup/cgroup.c, cgroup_id). Its methods
// may be called from several goroutines.
type Groups struct {
	root string
	dir  *os.File
	// byHandle: the kernel opens a cgroup by its number. That takes
	// CAP_DAC_READ_SEARCH (fs/fhandle.c); without it the tree is walked.
	byHandle bool
	want     chan struct{}

	mu    sync.Mutex
	paths map[uint64]string
}

// usualMount is where the hierarchies are mounted, that of version 2 too; beside
// those of version 1 it is "unified" below.
const usualMount = "/sys/fs/cgroup"

const (
	// rootInode is that of the root of the whole hierarchy; the mount of a cgroup
	// namespace begins with a higher one.
	rootInode = 1
	// groupsMax bounds the memory: some 200 bytes each. A large node has some
	// thousands.
	groupsMax = 1 << 16
	// walkEvery is the least time between two walks. One of 1,000 cgroups takes
	// some 20 ms, in a goroutine of its own.
	walkEvery = 10 * time.Second
	// fileidKernfs is the type of a file handle of kernfs (FILEID_KERNFS,
	// include/linux/exportfs.h).
	fileidKernfs = 0xfe
)

// OpenGroups opens the hierarchy of version 2, nil if there is none to be seen.
func OpenGroups(procRoot string) *Groups {
	var part *Groups
	// In a container only its own cgroups are mounted. Those of the host's first
	// process are seen through its root, with CAP_SYS_PTRACE.
	for _, at := range []string{usualMount, procRoot + "/1/root" + usualMount} {
		for _, root := range []string{at, at + "/unified"} {
			g, whole := openGroups(root)
			switch {
			case g == nil:
			case whole:
				if part != nil {
					part.Close()
				}
				return g
			case part == nil:
				part = g
			default:
				g.Close()
			}
		}
	}
	return part
}

func openGroups(root string) (g *Groups, whole bool) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, false
	}
	var fsStat unix.Statfs_t
	info, err := dir.Stat()
	if err != nil || unix.Fstatfs(int(dir.Fd()), &fsStat) != nil || fsStat.Type != unix.CGROUP2_SUPER_MAGIC {
		dir.Close()
		return nil, false
	}
	g = &Groups{root: root, dir: dir, want: make(chan struct{}, 1), paths: make(map[uint64]string)}
	own := inode(info)
	_, err = g.open(own)
	g.byHandle = err == nil
	return g, own == rootInode
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

// Close ends the use of g; Run must have ended.
func (g *Groups) Close() error { return g.dir.Close() }

// Path returns the path of a cgroup, below the root of what is mounted. Where the
// kernel does not open it by its number, what is not known yet is looked for by Run,
// and found at a later call.
func (g *Groups) Path(id uint64) (string, bool) {
	g.mu.Lock()
	path, ok := g.paths[id]
	g.mu.Unlock()
	if ok {
		return path, true
	}
	if g.byHandle {
		path, err := g.open(id)
		if err != nil {
			return "", false
		}
		g.note(id, path)
		return path, true
	}
	select {
	case g.want <- struct{}{}:
	default:
	}
	return "", false
}

func (g *Groups) note(id uint64, path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.paths) >= groupsMax {
		// Numbers are never used again, so these are of cgroups that are gone.
		clear(g.paths)
	}
	g.paths[id] = path
}

// open asks the kernel for the cgroup's directory and for its path.
func (g *Groups) open(id uint64) (string, error) {
	var handle [8]byte
	binary.NativeEndian.PutUint64(handle[:], id)
	fd, err := unix.OpenByHandleAt(int(g.dir.Fd()), unix.NewFileHandle(fileidKernfs, handle[:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	// Through another process's root the link begins as that process would see it.
	mount := g.root[strings.Index(g.root, usualMount):]
	if at := strings.Index(path, mount); at >= 0 {
		path = path[at+len(mount):]
	}
	return path, nil
}

// Run walks the tree when Path asked for it, until ctx is done.
func (g *Groups) Run(ctx context.Context) {
	if g.byHandle {
		return
	}
	for {
		g.Walk(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(walkEvery):
		}
		select {
		case <-ctx.Done():
			return
		case <-g.want:
		}
	}
}

// Walk looks at all cgroups, unless the kernel opens them by their numbers.
func (g *Groups) Walk(ctx context.Context) {
	if g.byHandle {
		return
	}
	// A cgroup that goes away meanwhile is no error.
	_ = filepath.WalkDir(g.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir
		case err != nil || !d.IsDir():
			return nil
		}
		if info, err := d.Info(); err == nil {
			g.note(inode(info), strings.TrimPrefix(path, g.root))
		}
		return nil
	})
}
