package stack

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may go through (include/linux/namei.h,
// MAXSYMLINKS).
const maxLinks = 40

// inRoot is a path that is followed inside of a root directory, step by step: links
// and ".." cannot lead out, and what procfs calls links are read as text. openat2(2) with
// RESOLVE_IN_ROOT does that in one call, but the sandbox denies it: what it is asked
// for stands in memory, where no filter sees it.
type inRoot struct {
	root  int
	dirs  []int    // from the root to where it stands
	todo  []string // the last comes first
	links int
}

// openInRoot opens a path with O_PATH.
func openInRoot(root int, path string) (int, error) {
	w := inRoot{root: root}
	defer w.up(0)
	w.add(path)
	for len(w.todo) > 0 {
		part := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		switch part {
		case "", ".":
		case "..":
			w.up(max(0, len(w.dirs)-1))
		default:
			if fd, err := w.step(part); err != nil || fd >= 0 {
				return fd, err
			}
		}
	}
	return -1, unix.EISDIR
}

func (w *inRoot) add(path string) {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		w.todo = append(w.todo, parts[i])
	}
}

// up goes back until so many directories below the root.
func (w *inRoot) up(depth int) {
	for _, fd := range w.dirs[depth:] {
		_ = unix.Close(fd) // it was only stood on
	}
	w.dirs = w.dirs[:depth]
}

func (w *inRoot) here() int {
	if len(w.dirs) == 0 {
		return w.root
	}
	return w.dirs[len(w.dirs)-1]
}

// step takes one part of the path; it returns -1 unless that was the file.
func (w *inRoot) step(part string) (int, error) {
	fd, err := unix.Openat(w.here(), part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %q: %w", part, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("reading attributes of %q: %w", part, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w.dirs = append(w.dirs, fd)
		return -1, nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		return -1, w.follow(fd)
	}
	if len(w.todo) > 0 {
		_ = unix.Close(fd)
		return -1, unix.ENOTDIR
	}
	return fd, nil
}

func (w *inRoot) follow(link int) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	var text [unix.PathMax]byte
	n, err := unix.Readlinkat(link, "", text[:])
	if err != nil {
		return fmt.Errorf("reading a link: %w", err)
	}
	target := string(text[:n])
	if strings.HasPrefix(target, "/") {
		w.up(0)
	}
	w.add(target)
	return nil
}
