package tracer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// The tests from here on load the programs and look at real sockets, each in a
// network namespace of its own, so that they see neither each other nor the host.

// patience is how long a condition may take to come true on a slow machine.
const patience = 20 * time.Second

// stuckStates are what the daemon watches.
const stuckStates flow.StateSet = 1<<flow.StateSynSent | 1<<flow.StateFinWait1 | 1<<flow.StateFinWait2 |
	1<<flow.StateCloseWait | 1<<flow.StateLastAck | 1<<flow.StateClosing

// canLoad loads the least there is, once.
var canLoad = sync.OnceValue(func() error {
	tr, err := Load(Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return tr.Close()
})

// requireBPF skips where the host does not let us load programs, or fails under
// REQUIRE_BPF=1.
func requireBPF(t testing.TB) {
	t.Helper()
	err := canLoad()
	switch {
	case err == nil:
	case os.Getenv("REQUIRE_BPF") == "1":
		t.Fatalf("REQUIRE_BPF=1 and BPF programs do not load: %+v", verifierLog(err))
	case errors.Is(err, os.ErrPermission):
		t.Skipf("needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: %v", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, ebpf.ErrNotSupported):
		t.Skipf("this kernel cannot: %v", err)
	default:
		t.Fatalf("BPF programs do not load: %+v", verifierLog(err))
	}
}

// verifierLog gives the kernel's own words where it refused a program.
func verifierLog(err error) error {
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: %+v", err, refused)
	}
	return err
}

// load gives a Tracer that is not attached.
func load(t testing.TB, opts Options) *Tracer {
	t.Helper()
	requireBPF(t)
	tr, err := Load(opts)
	if err != nil {
		t.Fatalf("loading: %+v", verifierLog(err))
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return tr
}

func attached(t testing.TB, opts Options) *Tracer {
	t.Helper()
	tr := load(t, opts)
	if err := tr.Attach(); err != nil {
		t.Fatal(err)
	}
	return tr
}

// eventually waits until cond is true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// namespace is a network namespace with nothing but a loopback device.
type namespace struct {
	fd    int
	inode uint32
}

// newNamespace makes one and puts the calling test into it, but not its subtests,
// which are goroutines of their own. The test's thread is not given back, so that
// no other goroutine ends up in the namespace: it ends with the test.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	requireBPF(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	path := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		t.Fatal(err)
	}
	loopbackUp(t)
	return &namespace{fd: fd, inode: uint32(stat.Ino)}
}

// enter puts the calling test into the namespace; it must have made one itself.
func (ns *namespace) enter(t testing.TB) {
	t.Helper()
	if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
		t.Fatalf("entering a network namespace: %v", err)
	}
}

func loopbackUp(t testing.TB) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("bringing up lo: %v", err)
	}
}

// seen collects the events of one network namespace.
type seen struct {
	events []flow.Event
	// keys are also taken where the namespace is not told (promotions).
	keys map[flow.Key]bool
	ns   *namespace
}

// take reads what waits in the ring buffer. A promotion names no namespace: it is
// ours if the socket behind it is.
func (s *seen) take(t testing.TB, tr *Tracer) {
	t.Helper()
	var all []flow.Event
	if err := tr.Events(func(e *flow.Event) { all = append(all, *e) }); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind == flow.EventPromoted && !s.keys[e.Key] {
			sock := &flow.Sock{ID: flow.ID{Key: e.Key}}
			if err := tr.Read([]*flow.Sock{sock}, false); err != nil {
				t.Fatal(err)
			}
			e.NetNS = sock.NetNS
		}
		if e.NetNS == s.ns.inode || s.keys[e.Key] {
			s.keys[e.Key] = true
			s.events = append(s.events, e)
		}
	}
}

// age promotes what is stuck now, and takes the events.
func (s *seen) age(t testing.TB, tr *Tracer) {
	t.Helper()
	if err := tr.Age(0, func() error { s.take(t, tr); return nil }); err != nil {
		t.Fatal(err)
	}
	s.take(t, tr)
}

// of returns the events of one socket.
func (s *seen) of(key flow.Key) []flow.Event {
	return slices.DeleteFunc(slices.Clone(s.events), func(e flow.Event) bool { return e.Key != key })
}

func watching(ns *namespace) *seen {
	return &seen{ns: ns, keys: map[flow.Key]bool{}}
}
