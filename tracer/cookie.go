package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// netnsMax bounds the cache of namespaces.
const netnsMax = 1024

// Cookie returns the cookie of a socket that has none yet, because it is older
// than the agent and nobody can be asked for it by descriptor: sock_diag makes
// one, as ss(8) -e would. It enters the socket's network namespace for that;
// where that is not allowed or not found the cookie stays unknown, which is an
// error.
func (t *Tracer) Cookie(id flow.ID) (uint64, error) {
	var cookie uint64
	err := t.inNetNS(id.NetNS, func() error {
		var err error
		cookie, err = diagCookieOf(id.Local, id.Peer)
		return err
	})
	return cookie, err
}

// inNetNS runs fn on a thread that is in the given network namespace.
func (t *Tracer) inNetNS(inode uint32, fn func() error) error {
	own, err := netnsInode("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if own == inode {
		return fn()
	}
	path, err := t.netnsPath(inode)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening own network namespace: %w", err)
	}
	defer back.Close()
	if err := enter(path, inode); err != nil {
		runtime.UnlockOSThread()
		return err
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

// enter changes the thread's network namespace, if path is still the one meant.
func enter(path string, inode uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening network namespace: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("opening network namespace: %w", err)
	}
	if uint32(st.Ino) != inode {
		return fmt.Errorf("opening network namespace: %s is another one now", path)
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %d: %w", inode, err)
	}
	return nil
}

// netnsPath finds a path of a namespace: a process in it, or a mount by ip-netns(8).
func (t *Tracer) netnsPath(inode uint32) (string, error) {
	if path, ok := t.netns[inode]; ok {
		if found, err := netnsInode(path); err == nil && found == inode {
			return path, nil
		}
	}
	t.netns = make(map[uint32]string)
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/run/netns/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("listing network namespaces: %w", err)
		}
		for _, path := range paths {
			if found, err := netnsInode(path); err == nil && len(t.netns) < netnsMax {
				t.netns[found] = path
			}
		}
	}
	if path, ok := t.netns[inode]; ok {
		return path, nil
	}
	return "", fmt.Errorf("finding network namespace %s: no process and no mount shows it", strconv.FormatUint(uint64(inode), 10))
}

func netnsInode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("looking up network namespace: %w", err)
	}
	return uint32(st.Ino), nil
}
