package origin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// echo names containers by their ids.
type echo struct{}

func (echo) Workload(p Place) *finding.Workload {
	return &finding.Workload{ContainerID: p.ContainerID, PodUID: p.PodUID, Cgroup: p.Cgroup}
}

// fakeProc is a proc file system with processes that a test makes.
type fakeProc struct {
	t    *testing.T
	root string
}

func newProc(t *testing.T) *fakeProc { return &fakeProc{t, t.TempDir()} }

// add makes a process that started so many hundredths of a second after boot.
func (p *fakeProc) add(pid, began int, cgroup string) {
	p.t.Helper()
	dir := filepath.Join(p.root, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	stat := fmt.Sprintf("%d (a) b) S %s%d 0 0", pid, strings.Repeat("0 ", 18), began)
	for name, text := range map[string]string{"stat": stat, "cgroup": "0::" + cgroup + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *fakeProc) remove(pid int) {
	p.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.root, fmt.Sprint(pid))); err != nil {
		p.t.Fatal(err)
	}
}

func TestResolver(t *testing.T) {
	proc := newProc(t)
	proc.add(10, 500, "/docker/"+idA)
	proc.add(11, 500, "/system.slice/nginx.service")
	r := New(proc.root, nil, echo{})
	began := 5 * time.Second
	for _, tt := range []struct {
		name  string
		task  flow.Task
		since time.Duration
		want  string
	}{
		{"holder", flow.Task{PID: 10, StartBoot: began + 3*time.Millisecond}, 0, idA},
		{"in no container", flow.Task{PID: 11, StartBoot: began}, 0, ""},
		{"another's pid now", flow.Task{PID: 10, StartBoot: began - time.Second}, 0, ""},
		{"gone", flow.Task{PID: 12, StartBoot: began}, 0, ""},
		{"nobody", flow.Task{}, 0, ""},
		{"captured", flow.Task{PID: 10}, 6 * time.Second, idA},
		{"captured before it started", flow.Task{PID: 10}, 4 * time.Second, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if w := r.Of(&finding.Process{Task: tt.task}, &flow.ID{}, tt.since, time.Hour); w != nil {
				got = w.ContainerID
			}
			if got != tt.want {
				t.Errorf("container %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRemembered: a process is read once a minute, and its container is still known
// when it is gone.
func TestRemembered(t *testing.T) {
	proc := newProc(t)
	proc.add(10, 500, "/docker/"+idA)
	r := New(proc.root, nil, echo{})
	of := func(now time.Duration) string {
		t.Helper()
		w := r.Of(&finding.Process{Task: flow.Task{PID: 10, StartBoot: 5 * time.Second}}, &flow.ID{}, 0, now)
		if w == nil {
			return ""
		}
		return w.ContainerID
	}
	if of(0) != idA {
		t.Fatal("not found")
	}
	proc.add(10, 500, "/docker/"+idB)
	if got := of(rememberFor / 2); got != idA {
		t.Errorf("read again too soon: %q", got)
	}
	if got := of(rememberFor + time.Second); got != idB {
		t.Errorf("it was moved, and is in %q", got)
	}
	proc.remove(10)
	if got := of(3 * rememberFor); got != idB {
		t.Errorf("gone, and was in %q", got)
	}
	for i := range 3 * rememberMax {
		r.tasks[taskKey{pid: uint32(i)}] = remembered{}
		if len(r.tasks) >= rememberMax {
			break
		}
	}
	proc.add(11, 500, "/docker/"+idA)
	r.Of(&finding.Process{Task: flow.Task{PID: 11, StartBoot: 5 * time.Second}}, &flow.ID{}, 0, 0)
	if len(r.tasks) > rememberMax {
		t.Errorf("%d are remembered", len(r.tasks))
	}
}

// TestSocketsCgroup finds a real cgroup by its number, as the kernel does and by
// walking the tree, and the container of a socket that nobody holds.
func TestSocketsCgroup(t *testing.T) {
	g := OpenGroups("/proc")
	if g == nil {
		t.Skip("no hierarchy of version 2 is mounted")
	}
	t.Cleanup(func() { _ = g.Close() })
	top := filepath.Join(g.root, fmt.Sprintf("tcplimbo-test-%d", os.Getpid()))
	dir := filepath.Join(top, idA)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		if os.Geteuid() == 0 && os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal(err)
		}
		t.Skipf("making a cgroup: %v", err)
	}
	t.Cleanup(func() {
		_ = os.Remove(dir)
		if err := os.Remove(top); err != nil {
			t.Error(err)
		}
	})
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := inode(info)
	walked := &Groups{root: g.root, dir: g.dir, want: make(chan struct{}, 1), paths: map[uint64]string{}}
	if _, ok := walked.Path(id); ok {
		t.Error("known before it was looked for")
	}
	walked.Walk(t.Context())
	want := strings.TrimPrefix(dir, g.root)
	for name, groups := range map[string]*Groups{"opened": g, "walked": walked} {
		if name == "opened" && !g.byHandle {
			continue // without CAP_DAC_READ_SEARCH
		}
		path, ok := groups.Path(id)
		if !ok || path != want {
			t.Errorf("%s: %q, %v, want %q", name, path, ok, want)
		}
		w := New("/none", groups, echo{}).Of(&finding.Process{}, &flow.ID{CgroupID: id}, 0, 0)
		if w == nil || w.ContainerID != idA {
			t.Errorf("%s: the socket is in %+v", name, w)
		}
		if _, ok := groups.Path(1 << 62); ok {
			t.Errorf("%s: a cgroup that is not there was found", name)
		}
	}
}
