package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMountNamespace: the program and its library are files that only the process
// sees; at their paths here there is something else.
func TestMountNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mount namespaces need root")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("unshare is not installed")
	}
	bin, _ := buildC(t, "-g")
	dir := filepath.Dir(bin)
	script := `set -e; cp -a "$1" "$1.copy"; mount -t tmpfs none "$1"; cp -a "$1.copy/." "$1/"; exec "$1/child"`
	c := run(t, "unshare", "-m", "sh", "-c", script, "sh", dir)
	var addrs []uint64
	c.speak(t, &addrs)
	if err := os.WriteFile(bin, []byte("something else"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := New("/proc")
	if got := show(resolve(t, s, c.process(), addrs...)); got != wantLines {
		t.Errorf("frames are\n%s\nwant\n%s", got, wantLines)
	}
	// Without the right to map_files, by the process's own root.
	regions, err := readMaps("/proc/" + itoa(c.pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := range regions {
		r := regions[i]
		if filepath.Dir(r.path) != dir {
			continue
		}
		r.start++ // no such mapping
		f, id, err := openMapped("/proc/"+itoa(c.pid), &r)
		if err != nil {
			t.Errorf("opening %s: %v", r.path, err)
			continue
		}
		f.Close()
		found++
		if id.ino != r.inode || id.size < 1000 {
			t.Errorf("%s is %+v", r.path, id)
		}
		// Another file at that path is not taken for it.
		r.inode++
		if f, _, err := openMapped("/proc/"+itoa(c.pid), &r); err == nil {
			f.Close()
			t.Errorf("opening %s: another file was taken", r.path)
		}
	}
	if found != 2 {
		t.Errorf("%d files of the process found, want 2", found)
	}
}
