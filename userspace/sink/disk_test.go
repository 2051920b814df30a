package sink

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tcplimbo-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// fill takes all but n bytes of the disk.
func fill(t *testing.T, dir string, n int) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	if err := os.WriteFile(path, make([]byte, 64<<10-n), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFullDiskLeavesWholeLines(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "log")
	f := openFile(t, path, FileOptions{})
	filler := fill(t, dir, 4096)
	var batch []byte
	for i := range 600 { // 5400 bytes
		batch = append(batch, line("l", i)...)
	}
	n, err := f.Write(t.Context(), batch)
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "writing log file: ") {
		t.Fatalf("wrote %d bytes: %v, want a full disk", n, err)
	}
	if n != 4096/9*9 {
		t.Errorf("%d bytes stay, want %d", n, 4096/9*9)
	}
	if got := content(t, path); got != string(batch[:n]) {
		t.Errorf("the file holds %d bytes and ends in %q", len(got), got[len(got)-20:])
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, batch[n:])
	if got := content(t, path); got != string(batch) {
		t.Error("the rest was not appended")
	}
}

// TestFullDiskWithOthers has another process's line behind our half one.
func TestFullDiskWithOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := openFile(t, path, FileOptions{})
	mustWrite(t, f, []byte("{}\n{\"half"))
	if err := os.WriteFile(path, []byte("{}\n{\"half{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.heal(6)
	mustWrite(t, f, []byte("{\"whole\":1}\n"))
	if got := content(t, path); got != "{}\n{\"half{}\n\n{\"whole\":1}\n" {
		t.Errorf("the file holds %q", got)
	}
}

func TestSinkSurvivesFullDisk(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, path string) Writer{
		"log file": func(t *testing.T, path string) Writer { return openFile(t, path, FileOptions{}) },
		"stdout": func(t *testing.T, path string) Writer {
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { out.Close() })
			return stream(t, int(out.Fd()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t)
			path := filepath.Join(dir, "log")
			w := open(t, path)
			filler := fill(t, dir, 4096)
			var failed, recovered atomic.Int32
			s := New(w, Options{
				OnError:     func(error) { failed.Add(1) },
				OnRecovered: func() { recovered.Add(1) },
			})
			var want []byte
			for i := range 600 {
				want = append(want, line("l", i)...)
				s.Put(Finding, line("l", i))
			}
			waitFor(t, "the disk to be full", func() bool { return failed.Load() > 0 })
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the sink to recover", func() bool { return recovered.Load() > 0 && s.Stats().Queued == 0 })
			closeSink(t, s)
			if got := content(t, path); got != string(want) {
				t.Errorf("the file holds %d bytes, want %d", len(got), len(want))
			}
			if failed.Load() != 1 || recovered.Load() != 1 {
				t.Errorf("told %d errors and %d recoveries", failed.Load(), recovered.Load())
			}
		})
	}
}

func TestFullDiskAtTheEnd(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "log")
	f := openFile(t, path, FileOptions{})
	fill(t, dir, 4096)
	s := New(f, Options{Name: "log file"})
	for i := range 600 {
		s.Put(Transition, line("l", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := s.Close(ctx)
	if err == nil || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("closing: %v", err)
	}
	got := content(t, path)
	st := s.Stats()
	if !strings.HasSuffix(got, "\n") || uint64(bytes.Count([]byte(got), []byte("\n"))) != st.Written {
		t.Errorf("%d bytes, %d counted as written, the end is %q", len(got), st.Written, got[max(len(got)-12, 0):])
	}
	if st.Written+st.DroppedTransitions != 600 {
		t.Errorf("stats do not add up: %+v", st)
	}
}

// waitFor polls until a condition holds or ten seconds passed.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
