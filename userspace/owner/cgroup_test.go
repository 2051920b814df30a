package owner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func TestCgroups(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "42")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"stat":   "42 (a) b) S" + strings.Repeat(" 0", 18) + " 5000\n",
		"cgroup": "2:cpu:/system.slice/a:b.service\n1:name=systemd:/system.slice/a:b.service\n0::/user.slice (deleted)\nnonsense\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := New(nil, root)
	tests := []struct {
		name string
		task flow.Task
		want []string
	}{
		{"the process", flow.Task{PID: 42, StartBoot: 50*time.Second + 3*time.Millisecond}, []string{"/system.slice/a:b.service", "/user.slice"}},
		{"another one of its pid", flow.Task{PID: 42, StartBoot: 51 * time.Second}, nil},
		{"nobody knows when it began", flow.Task{PID: 42}, nil},
		{"a process that is gone", flow.Task{PID: 43, StartBoot: 50 * time.Second}, nil},
		{"none", flow.Task{}, nil},
	}
	for _, tt := range tests {
		if got := r.Cgroups(tt.task); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzCgroupPaths(f *testing.F) {
	for _, seed := range []string{"0::/a\n", "1:x:/b (deleted)\n0::/\n", "::\n:::\n", "0::/a", "\n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		paths := cgroupPaths(text)
		if len(paths) > strings.Count(string(text), "\n")+1 {
			t.Errorf("%d paths in %q", len(paths), text)
		}
	})
}
