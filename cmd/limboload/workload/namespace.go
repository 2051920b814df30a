package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namePrefix marks the named namespaces of this package; the owner's pid
// follows, so that those of a process that was killed can be removed.
const namePrefix = "limboload-"

// namedDir is where ip-netns(8) keeps its bind mounts.
const namedDir = "/run/netns"

// Namespace is a network namespace with a thread in it. A nil *Namespace is
// the caller's own.
type Namespace struct {
	// Name is the name under /run/netns, empty if it has none: then only its
	// thread, its sockets and the processes started in it keep it alive.
	Name  string
	inode uint64
	mine  bool // made here, to be removed on Close
	work  chan func()
	done  chan struct{}
	once  sync.Once
}

// NewNamespace makes an anonymous network namespace with its loopback up.
func NewNamespace() (*Namespace, error) { return startNamespace("", true) }

var nameCount struct {
	sync.Mutex
	n int
}

// NewNamedNamespace makes a network namespace that `ip netns` shows, under a
// name of its own.
func NewNamedNamespace() (*Namespace, error) {
	removeStale()
	nameCount.Lock()
	nameCount.n++
	name := fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), nameCount.n)
	nameCount.Unlock()
	return startNamespace(name, true)
}

// OpenNamespace enters an existing namespace of /run/netns. Closing it leaves
// it there.
func OpenNamespace(name string) (*Namespace, error) { return startNamespace(name, false) }

func startNamespace(name string, create bool) (*Namespace, error) {
	n := &Namespace{Name: name, mine: create, work: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go n.thread(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return n, nil
}

// thread owns an OS thread for the life of the namespace. The thread is never
// unlocked: the runtime ends it with the goroutine instead of reusing it in
// the wrong namespace.
func (n *Namespace) thread(ready chan<- error) {
	runtime.LockOSThread()
	defer close(n.done)
	err := n.enter()
	ready <- err
	if err != nil {
		return
	}
	for fn := range n.work {
		fn()
	}
}

func (n *Namespace) enter() error {
	if !n.mine {
		h, err := netns.GetFromName(n.Name)
		if err != nil {
			return fmt.Errorf("opening network namespace %q: %w", n.Name, err)
		}
		defer h.Close()
		if err := netns.Set(h); err != nil {
			return fmt.Errorf("entering network namespace %q: %w", n.Name, err)
		}
		return n.readInode()
	}
	if err := n.create(); err != nil {
		return fmt.Errorf("creating a network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("setting up the loopback: %w", err), n.remove())
	}
	return n.readInode()
}

func (n *Namespace) create() error {
	var h netns.NsHandle
	var err error
	if n.Name == "" {
		h, err = netns.New()
	} else {
		h, err = netns.NewNamed(n.Name)
	}
	if err != nil {
		return err
	}
	return h.Close()
}

func (n *Namespace) readInode() error {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return fmt.Errorf("reading the namespace's inode number: %w", err)
	}
	n.inode = st.Ino
	return nil
}

// Inode returns the namespace's inode number, as in /proc/PID/ns/net.
func (n *Namespace) Inode() (uint64, error) {
	if n != nil {
		return n.inode, nil
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("reading the namespace's inode number: %w", err)
	}
	return st.Ino, nil
}

// Do runs fn on a thread in the namespace and returns its error. Sockets made
// there stay there, wherever they are used later; a process started there
// lives there.
func (n *Namespace) Do(fn func() error) error {
	if n == nil {
		return fn()
	}
	err := make(chan error, 1)
	n.work <- func() { err <- fn() }
	return <-err
}

// Sysctl writes a sysctl of the namespace, for example
// net/ipv4/tcp_syn_retries. In the caller's own namespace it refuses.
func (n *Namespace) Sysctl(name, value string) error {
	if n == nil {
		return fmt.Errorf("setting %s: refused in the host's network namespace", name)
	}
	return n.Do(func() error {
		// The opener's thread decides which namespace /proc/sys/net shows
		// (net/sysctl_net.c, net_ctl_header_lookup).
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
		return nil
	})
}

// Close ends the thread and, if the namespace was made here, removes its
// name. The kernel frees it once its last socket and process are gone.
func (n *Namespace) Close() error {
	if n == nil {
		return nil
	}
	var err error
	n.once.Do(func() {
		close(n.work)
		<-n.done
		err = n.remove()
	})
	return err
}

func (n *Namespace) remove() error {
	if !n.mine || n.Name == "" {
		return nil
	}
	if err := netns.DeleteNamed(n.Name); err != nil {
		return fmt.Errorf("removing network namespace %q: %w", n.Name, err)
	}
	return nil
}

// removeStale removes the named namespaces that killed processes left.
func removeStale() {
	entries, err := os.ReadDir(namedDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), namePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); ok && err == nil && errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			_ = netns.DeleteNamed(e.Name())
		}
	}
}
