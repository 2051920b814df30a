package pprof

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestDumpsAreBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+prefix+"half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDumps(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range maxDumps + 10 {
		at := time.Unix(int64(i), 0)
		name, err := d.Keep("../../etc/\x1bx", 7, at, []byte("profile"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	left := listDir(t, dir)
	if want := append(names[10:], "mine.txt"); !slices.Equal(left, want) {
		t.Errorf("%d files are left, first %v", len(left), left[:3])
	}
	// By size: two of these fit.
	big := make([]byte, maxDumpBytes/2-4096)
	for i := range 3 {
		at := time.Unix(int64(1000+i), 0)
		name, err := d.Keep("big", 7, at, big)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	sum := int64(0)
	for _, name := range listDir(t, dir) {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	if sum > maxDumpBytes+1 {
		t.Errorf("%d bytes are kept", sum)
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestDumpsNeedAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDumps(file); err == nil {
		t.Error("a file is a folder")
	}
}
