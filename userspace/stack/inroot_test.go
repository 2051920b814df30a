package stack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever links a container makes, a path stays in its root.
func TestInRoot(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "usr/lib"), 0o755))
	must(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644))
	must(os.WriteFile(filepath.Join(root, "usr/lib/c.so"), []byte("c"), 0o644))
	must(os.WriteFile(filepath.Join(root, "secret"), []byte("own"), 0o644))
	for name, target := range map[string]string{
		"lib": "usr/lib", "abs": "/usr/lib/c.so", "up": "../../../../secret", "out": outside + "/secret",
		"usr/lib/back": "../../lib/c.so", "loop": "loop", "dir": "/..", "dangling": "nothing",
	} {
		must(os.Symlink(target, filepath.Join(root, name)))
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(err)
	defer unix.Close(dir)
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(err)
		return len(entries)
	}
	before := fds()
	for path, want := range map[string]any{
		"/usr/lib/c.so": "c", "lib/c.so": "c", "/lib/../lib/./c.so": "c", "abs": "c", "usr/lib/back": "c", "//lib//c.so": "c",
		"up": "own", "/../../secret": "own", "dir/secret": "own",
		"out": unix.ENOENT, "loop": unix.ELOOP, "dangling": unix.ENOENT, "usr": unix.EISDIR, "": unix.EISDIR,
		"usr/lib/c.so/x": unix.ENOTDIR, "usr/lib/c.so/": unix.ENOTDIR,
	} {
		f, _, err := openIn(root, path)
		if errno, ok := want.(unix.Errno); ok {
			if !errors.Is(err, errno) {
				t.Errorf("%q: %v, want %v", path, err, errno)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		text := make([]byte, 10)
		n, _ := f.Read(text)
		if string(text[:n]) != want {
			t.Errorf("%q leads to %q, want %q", path, text[:n], want)
		}
		must(f.Close())
	}
	if after := fds(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
