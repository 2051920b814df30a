package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip-netns(8) keeps names.
const netnsDir = "/run/netns"

// netNS reads --netns as an inode number, a path or a name, 0 if it is not
// given.
func netNS(c *cli.Context) (uint32, error) {
	if !c.IsSet("netns") {
		return 0, nil
	}
	text := c.String("netns")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n > 0 {
		return uint32(n), nil
	}
	path := text
	if !strings.Contains(text, "/") {
		path = filepath.Join(netnsDir, text)
	}
	inode, err := netNSInode(path)
	if err != nil {
		return 0, usageError("--netns: %q: %w; allowed: an inode number (lsns -t net), a name in %s, or a path such as /proc/PID/ns/net",
			text, err, netnsDir)
	}
	return inode, nil
}

var errNotNetNS = errors.New("not a network namespace")

// netNSInode returns the inode number of the network namespace at path.
func netNSInode(path string) (uint32, error) {
	// O_NONBLOCK: a FIFO must not make the command wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return 0, errNotNetNS
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return 0, errNotNetNS
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("reading its inode number: %w", err)
	}
	return uint32(st.Ino), nil
}

// netNSNames lists the names for the shell completion; none if there are none.
func netNSNames() []string {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
