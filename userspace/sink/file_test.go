package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openFile(t *testing.T, path string, opt FileOptions) *File {
	t.Helper()
	f, err := OpenFile(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func mustWrite(t *testing.T, f *File, p []byte) {
	t.Helper()
	if n, err := f.Write(t.Context(), p); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenFileErrors(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	readFIFO := filepath.Join(dir, "read_fifo")
	if err := unix.Mkfifo(readFIFO, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(readFIFO, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, path := range map[string]string{
		"missing directory":  filepath.Join(dir, "no", "log"),
		"directory":          dir,
		"file as directory":  filepath.Join(fifo, "log"),
		"FIFO":               fifo,
		"FIFO with a reader": readFIFO,
		"empty":              "",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OpenFile(path, FileOptions{})
			if err == nil {
				f.Close()
				t.Fatal("opened")
			}
			if msg := err.Error(); !strings.HasPrefix(msg, "opening log file: ") || strings.Contains(msg, "\n") {
				t.Errorf("error %q", msg)
			}
		})
	}
}

func TestFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	fd := f.file.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil || flags&unix.O_APPEND == 0 {
		t.Errorf("flags %#x, %v: not for appending", flags, err)
	}
	if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: children inherit it", flags, err)
	}
}

func TestFileAppendsAndHeals(t *testing.T) {
	for before, want := range map[string]string{
		"":               "{}\n",
		"{\"a\":1}\n":    "{\"a\":1}\n{}\n",
		"{\"a\":1}\n{\"": "{\"a\":1}\n{\"\n{}\n",
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		f := openFile(t, path, FileOptions{})
		mustWrite(t, f, []byte("{}\n"))
		if got := content(t, path); got != want {
			t.Errorf("after %q the file holds %q, want %q", before, got, want)
		}
	}
}

func TestFileCharacterDevice(t *testing.T) {
	f := openFile(t, "/dev/null", FileOptions{MaxSize: 10})
	mustWrite(t, f, bytes.Repeat(line("l", 1), 100))
	full := openFile(t, "/dev/full", FileOptions{})
	if n, err := full.Write(t.Context(), line("l", 1)); n != 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writing to a full device: %d, %v", n, err)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{MaxSize: 100, Keep: 3})
	// 11 lines of 9 bytes fit. A batch is larger than the file may be.
	var batch []byte
	for i := range 50 {
		batch = append(batch, line("l", i)...)
	}
	mustWrite(t, f, batch)
	for i := 50; i < 60; i++ {
		mustWrite(t, f, line("l", i))
	}
	// 60 lines: 0-10, 11-21, 22-32, 33-43, 44-54, 55-59.
	for name, first := range map[string]int{"": 55, ".1": 44, ".2": 33, ".3": 22} {
		got := content(t, path+name)
		if !strings.HasPrefix(got, string(line("l", first))) || len(got) > 100 || len(got)%9 != 0 {
			t.Errorf("log%s holds %q, want it to begin with line %d", name, got, first)
		}
	}
	if _, err := os.Stat(path + ".4"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("log.4 is there: %v", err)
	}
}

func TestRotationOfLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{MaxSize: 20})
	long := append(bytes.Repeat([]byte("x"), 50), '\n')
	mustWrite(t, f, long)
	mustWrite(t, f, line("l", 1))
	mustWrite(t, f, append(append(line("l", 2), long...), line("l", 3)...))
	if got := content(t, path); got != string(line("l", 3)) {
		t.Errorf("log holds %q", got)
	}
	if got := content(t, path+".1"); got != string(long) {
		t.Errorf("log.1 holds %q", got)
	}
}

func TestFailedRotationLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	// A file cannot be renamed to a directory.
	if err := os.Mkdir(path+".1", 0o700); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, FileOptions{MaxSize: 20})
	var batch []byte
	for i := range 10 {
		batch = append(batch, line("l", i)...)
	}
	n, err := f.Write(t.Context(), batch)
	if n != len(batch) || err == nil || !strings.HasPrefix(err.Error(), "rotating log file: ") {
		t.Errorf("wrote %d of %d bytes: %v", n, len(batch), err)
	}
	mustWrite(t, f, line("l", 10)) // does not try again at once
	if got := content(t, path); got != string(batch)+string(line("l", 10)) {
		t.Errorf("log holds %q", got)
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	f.rotateAt = time.Now()
	mustWrite(t, f, line("l", 11))
	if got := content(t, path); got != string(line("l", 11)) {
		t.Errorf("after the directory is gone log holds %q", got)
	}
}

// A batch may fill many files: the end does not wait for all of them.
func TestWriteHeedsItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{MaxSize: 9})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := f.Write(ctx, append(line("l", 1), line("l", 2)...)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("wrote %d bytes: %v", n, err)
	}
	if got := content(t, path); got != "" {
		t.Errorf("log holds %q", got)
	}
}

// A rotated file that somebody removed leaves a gap: what is older stays.
func TestRotationFillsGaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{MaxSize: 9, Keep: 3})
	for i := range 5 {
		mustWrite(t, f, line("l", i))
	}
	if err := os.Remove(path + ".2"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, line("l", 5))
	for name, want := range map[string]int{"": 5, ".1": 4, ".2": 3, ".3": 1} {
		if got := content(t, path+name); got != string(line("l", want)) {
			t.Errorf("log%s holds %q", name, got)
		}
	}
	mustWrite(t, f, line("l", 6))
	if got := content(t, path+".3"); got != string(line("l", 3)) {
		t.Errorf("log.3 holds %q", got)
	}
}

func TestTruncatedByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{MaxSize: 100})
	mustWrite(t, f, bytes.Repeat(line("l", 0), 10))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, bytes.Repeat(line("l", 1), 3))
	if _, err := os.Stat(path + ".1"); !errors.Is(err, os.ErrNotExist) {
		t.Error("rotated a file that is nearly empty")
	}
	if got := content(t, path); got != strings.Repeat(string(line("l", 1)), 3) {
		t.Errorf("log holds %q", got)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{})
	mustWrite(t, f, line("l", 1))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, line("l", 2))
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, line("l", 3))
	if got := content(t, path+".old"); got != string(line("l", 1))+string(line("l", 2)) {
		t.Errorf("old file holds %q", got)
	}
	if got := content(t, path); got != string(line("l", 3)) {
		t.Errorf("new file holds %q", got)
	}
	// A failed reopening goes on with what is open.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil || !strings.HasPrefix(err.Error(), "reopening log file: ") {
		t.Errorf("reopening a directory: %v", err)
	}
	mustWrite(t, f, line("l", 4))
	if got := content(t, path+".old"); got != string(line("l", 3))+string(line("l", 4)) {
		t.Errorf("the file that stayed open holds %q", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Errorf("reopening after the end: %v", err)
	}
}

func TestReopenWhileWriting(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	f := openFile(t, path, FileOptions{MaxSize: 900, Keep: 1000})
	s := New(f, Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 20 {
			if err := os.Rename(path, fmt.Sprintf("%s.moved%d", path, i)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("moving: %v", err)
			}
			if err := f.Reopen(); err != nil {
				t.Errorf("reopening: %v", err)
			}
		}
	})
	const n = 5000
	for i := range n {
		s.Put(Class(i%2), line("l", i))
	}
	wg.Wait()
	closeSink(t, s)
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range files {
		for l := range strings.Lines(content(t, name)) {
			if len(l) != 9 || seen[l] {
				t.Fatalf("%s holds %q (seen: %v)", name, l, seen[l])
			}
			seen[l] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d lines in %d files, want %d", len(seen), len(files), n)
	}
}
