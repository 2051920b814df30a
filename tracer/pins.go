package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// pinName is the one file in the pin directory.
	pinName = "tcplimbo_state"
	// pinMap is the map's name in the kernel (at most 15 bytes).
	pinMap = "tcplimbo_state"
	// pinsMax bounds the sockets that are kept; an element takes some 560 bytes,
	// and only those that are used take any.
	pinsMax = 65536
)

// ErrNotBPFFS says that a directory is on no BPF file system.
var ErrNotBPFFS = errors.New("not on a BPF file system (mount -t bpf bpf /sys/fs/bpf)")

// ErrPinsInUse says that a running daemon has the pin directory.
var ErrPinsInUse = errors.New("a running tcplimbo uses it")

// Pins keep in the kernel, pinned to a directory of a BPF file system, what the
// next run has to know. No program touches the map. Its methods may be called by
// several goroutines at once.
type Pins struct {
	m    *ebpf.Map
	lock *os.File
	// Discarded says that what an earlier version had left was removed.
	Discarded bool
}

// OpenPins takes over what the last run left in the directory, or makes it. The
// directory is locked until Close.
func OpenPins(dir string) (*Pins, error) {
	if err := onBPFFS(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making pin directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	p := &Pins{lock: lock}
	_ = rlimit.RemoveMemlock() // see Load
	if err := p.open(filepath.Join(dir, pinName)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

func (p *Pins) open(path string) error {
	old, err := ebpf.LoadPinnedMap(path, nil)
	switch {
	case err == nil && compatible(old):
		p.m = old
		return nil
	case err == nil:
		p.Discarded = true
		err = old.Close()
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case !errors.Is(err, fs.ErrPermission):
		// A program, a link, or a map that cannot be read.
		p.Discarded, err = true, nil
	}
	if err != nil {
		return fmt.Errorf("opening pinned state: %w", err)
	}
	if err := remove(path); err != nil {
		return err
	}
	p.m, err = ebpf.NewMap(pinSpec())
	if err != nil {
		return fmt.Errorf("making map of kept state: %w", err)
	}
	if err := p.m.Pin(path); err != nil {
		return errors.Join(fmt.Errorf("pinning state: %w", err), p.m.Close())
	}
	return nil
}

func pinSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: pinMap, Type: ebpf.Hash, KeySize: uint32(len(pinKey{})), ValueSize: uint32(pinnedSize),
		MaxEntries: pinsMax, Flags: unix.BPF_F_NO_PREALLOC,
	}
}

// compatible compares the layout; each value says its version too.
func compatible(m *ebpf.Map) bool {
	want := pinSpec()
	return m.Type() == want.Type && m.KeySize() == want.KeySize && m.ValueSize() == want.ValueSize &&
		m.MaxEntries() == want.MaxEntries
}

// Take returns what the last run left. What this version cannot read is removed.
func (p *Pins) Take() ([]flow.Kept, error) {
	var all []flow.Kept
	var bad []pinKey
	var key pinKey
	value := make([]byte, pinnedSize)
	entries := p.m.Iterate()
	for entries.Next(&key, &value) {
		var k flow.Kept
		if decodeKept(value, &k) != nil {
			bad = append(bad, key)
			continue
		}
		all = append(all, k)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("reading kept state: %w", err)
	}
	for _, key := range bad {
		p.Discarded = true
		if err := p.drop(key); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Keep remembers a socket for the next run.
func (p *Pins) Keep(k *flow.Kept) error {
	key, err := keyOf(k)
	if err != nil {
		return err
	}
	value, err := encodeKept(k)
	if err != nil {
		return fmt.Errorf("keeping state: %w", err)
	}
	if err := p.m.Put(key, value); err != nil {
		return fmt.Errorf("keeping state: %w", err)
	}
	return nil
}

// Forget is the reverse of Keep; only what makes the key is meant.
func (p *Pins) Forget(k *flow.Kept) error {
	key, err := keyOf(k)
	if err != nil {
		return err
	}
	return p.drop(key)
}

func (p *Pins) drop(key pinKey) error {
	if err := p.m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forgetting kept state: %w", err)
	}
	return nil
}

// Close leaves what is kept to the next run.
func (p *Pins) Close() error { return errors.Join(p.m.Close(), p.lock.Close()) }

// Unpin removes what OpenPins and Keep left in a directory, and the directory if
// nothing else is in it. It reports whether there was anything.
func Unpin(dir string) (bool, error) {
	if err := onBPFFS(dir); err != nil {
		return false, err
	}
	if _, err := os.Stat(dir); err != nil {
		return false, fmt.Errorf("opening pin directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	path := filepath.Join(dir, pinName)
	_, err = os.Lstat(path)
	there := err == nil
	if err := remove(path); err != nil {
		return there, err
	}
	// Others may have pinned something there too, or it is the file system's root.
	_ = os.Remove(dir)
	return there, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing pinned state: %w", err)
	}
	return nil
}

// lockDir keeps a second daemon away. The lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening pin directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrPinsInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking pin directory %q: %w", dir, err), f.Close())
	}
	return f, nil
}

// onBPFFS tells whether a directory is, or would be, on a BPF file system.
func onBPFFS(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		var st unix.Statfs_t
		err := unix.Statfs(at, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fmt.Errorf("opening pin directory: %w", &os.PathError{Op: "statfs", Path: at, Err: err})
		case st.Type != unix.BPF_FS_MAGIC:
			return fmt.Errorf("pin directory %q: %w", dir, ErrNotBPFFS)
		}
		return nil
	}
}
