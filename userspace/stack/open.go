package stack

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity tells one content of a file from another. A build id would not do:
// whoever makes a file chooses it, so one container could put its names into
// another one's findings.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64
}

var (
	errNotRegular = errors.New("no regular file")
	errDeleted    = errors.New("deleted, and not to be had without CAP_CHECKPOINT_RESTORE")
	errReplaced   = errors.New("another file is there now")
)

// openMapped opens the file behind a mapping of a process, as that process
// sees it.
func openMapped(proc string, m *region) (*os.File, identity, error) {
	// Right also for files that were deleted, replaced or hidden by a mount.
	// Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN (5.9, fs/proc/base.c,
	// proc_map_files_get_link).
	link := proc + "/map_files/" + strconv.FormatUint(m.start, 16) + "-" + strconv.FormatUint(m.end, 16)
	if f, id, err := openRegular(unix.AT_FDCWD, link, 0); err == nil {
		return f, id, nil
	}
	path := unescape(m.path)
	if exe, err := os.Readlink(proc + "/exe"); err == nil && exe == path {
		if f, id, err := openRegular(unix.AT_FDCWD, proc+"/exe", 0); err == nil && id.ino == m.inode {
			return f, id, nil
		}
	}
	if strings.HasSuffix(path, " (deleted)") {
		return nil, identity{}, errDeleted
	}
	f, id, err := openIn(proc+"/root", path)
	if err != nil {
		return nil, identity{}, err
	}
	// The device would not tell more: overlayfs and btrfs show one to stat and
	// another one in maps.
	if id.ino != m.inode {
		f.Close()
		return nil, identity{}, fmt.Errorf("opening %s: %w", path, errReplaced)
	}
	return f, id, nil
}

// openIn opens a path inside of a root directory; links in it cannot lead out.
func openIn(root, path string) (*os.File, identity, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, identity{}, fmt.Errorf("opening %s: %w", root, err)
	}
	defer unix.Close(dir)
	return openRegular(dir, path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openRegular opens a file if it is a regular one. It looks before it opens:
// opening a device or a pipe could do something, or wait.
func openRegular(dir int, path string, resolve uint64) (*os.File, identity, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, identity{}, fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, identity{}, fmt.Errorf("reading attributes of %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, identity{}, fmt.Errorf("opening %s: %w", path, errNotRegular)
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY, 0)
	if err != nil {
		return nil, identity{}, err
	}
	return f, identity{
		dev: st.Dev, ino: st.Ino, size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}, nil
}

// unescape undoes what the kernel does to line feeds and backslashes in
// /proc/PID/maps (seq_path with "\n").
func unescape(path string) string {
	return strings.ReplaceAll(path, `\012`, "\n")
}
