package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process that has exited still has the names that were found before.
func TestExited(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, addrs := spokenC(t, bin)
	s := New("/proc")
	resolve(t, s, c.process(), addrs...)
	c.end()
	if got := show(resolve(t, s, c.process(), addrs...)); got != wantLines {
		t.Errorf("frames are\n%s\nwant\n%s", got, wantLines)
	}
	// What was not asked for before has a place.
	if f := resolve(t, s, c.process(), addrs[0]+1)[0]; f.Function != "" || f.Module != "child" {
		t.Errorf("frame is %+v", f)
	}
	_, err := New("/proc").Resolve(t.Context(), c.process(), addrs)
	if !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want %v", err, ErrGone)
	}
}

func TestAnotherProcess(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, addrs := spokenC(t, bin)
	s := New("/proc")
	p := c.process()
	p.Start -= time.Second
	if _, err := s.Resolve(t.Context(), p, addrs); !errors.Is(err, ErrReused) {
		t.Errorf("error %v, want %v", err, ErrReused)
	}
	p = c.process()
	at := c.stat(t).Stack
	if at == 0 {
		t.Skip("this process may not see where a stack begins")
	}
	p.Stack = at
	resolve(t, s, p, addrs...)
	p.Stack = at + 4096
	if _, err := s.Resolve(t.Context(), p, addrs); !errors.Is(err, ErrExec) {
		t.Errorf("error %v, want %v", err, ErrExec)
	}
}

// The program's file is gone, and another one is in its place.
func TestReplaced(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, addrs := spokenC(t, bin)
	other, _ := buildC(t, "-g0")
	if err := os.Rename(other, bin); err != nil {
		t.Fatal(err)
	}
	if got := show(resolve(t, New("/proc"), c.process(), addrs...)); got != wantLines {
		t.Errorf("frames are\n%s\nwant\n%s", got, wantLines)
	}
}

func TestUnknownAddresses(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, _ := spokenC(t, bin)
	got := resolve(t, New("/proc"), c.process(), 0, 1, 0x1000, ^uint64(0))
	if len(got) != 4 {
		t.Fatalf("%d frames", len(got))
	}
	for _, f := range got {
		if f.Function != "" || f.Module != "" {
			t.Errorf("frame %+v", f)
		}
	}
}

func TestNoAddresses(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, _ := spokenC(t, bin)
	if got := resolve(t, New("/proc"), c.process()); len(got) != 0 {
		t.Errorf("frames %+v", got)
	}
}

// What is no regular file is not opened: a pipe would wait for a writer.
func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openIn(dir, "/pipe"); !errors.Is(err, errNotRegular) {
		t.Errorf("opening a pipe: %v, want %v", err, errNotRegular)
	}
	if _, _, err := openIn(dir, "/out"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening a link that leads out of the root: %v", err)
	}
	if _, _, err := openIn(dir, "/../../etc/passwd"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening a path that leads out of the root: %v", err)
	}
}

// A deadline that has passed leaves modules and addresses, or an error.
func TestDeadline(t *testing.T) {
	bin, _ := buildC(t, "-g")
	c, addrs := spokenC(t, bin)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := New("/proc")
	frames, err := s.Resolve(ctx, c.process(), addrs)
	if err == nil {
		for _, f := range frames {
			if f.Module == "" {
				t.Errorf("frame %+v", f)
			}
		}
	}
	// One that did not answer in time holds its place, and the others go on.
	s.slots <- struct{}{}
	if got := show(resolve(t, New("/proc"), c.process(), addrs...)); got != wantLines {
		t.Errorf("frames are\n%s", got)
	}
	s.slots <- struct{}{}
	if _, err := s.Resolve(ctx, c.process(), addrs); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v, want %v", err, ErrBusy)
	}
}

// What is remembered stays below its limit, whatever is asked.
func TestCacheIsBounded(t *testing.T) {
	c := newCache(64 << 10)
	frames := wantFrames()
	for ino := range uint64(200) {
		for offset := range uint64(100) {
			c.add(identity{ino: ino}, offset, frames)
			if c.bytes > 64<<10 {
				t.Fatalf("%d bytes are kept", c.bytes)
			}
		}
	}
	sum := 0
	for e := c.order.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*file).bytes
	}
	if sum != c.bytes || len(c.files) != c.order.Len() {
		t.Errorf("%d bytes are counted, %d kept in %d of %d files", c.bytes, sum, c.order.Len(), len(c.files))
	}
	if c.file(identity{ino: 199}) == nil || c.file(identity{ino: 0}) != nil {
		t.Error("the file used last is forgotten before others")
	}
	// One file alone above the limit begins anew.
	for offset := range uint64(1000) {
		c.add(identity{ino: 7}, 1000+offset, frames)
	}
	if c.bytes > 64<<10 {
		t.Errorf("%d bytes are kept", c.bytes)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	s := New("/proc")
	for pid := range uint32(3 * maxProcesses) {
		m := &memory{files: make(map[uint64]identity)}
		for i := range uint64(3 * maxRemembered) {
			m.regions = append(m.regions, region{start: 4096 * i, end: 4096 * (i + 1), path: "/" + strings.Repeat("x", 4000)})
			m.files[4096*i] = identity{ino: i}
		}
		s.remember(Process{PID: pid, Start: time.Second}, m)
	}
	if len(s.processes) > maxProcesses {
		t.Errorf("%d processes are remembered", len(s.processes))
	}
	for _, m := range s.processes {
		if len(m.regions) > maxRemembered || len(m.regions[0].path) > 128 {
			t.Fatalf("%d mappings are remembered", len(m.regions))
		}
	}
}

func TestParseMaps(t *testing.T) {
	const text = `55d0c0a00000-55d0c0a01000 r--p 00000000 fe:01 123                        /usr/bin/x y
55d0c0a01000-55d0c0a03000 r-xp 00001000 fe:01 123                        /usr/bin/x y
7f0000000000-7f0000001000 r-xp 00000000 00:00 0 
7f0000002000-7f0000003000 rwxp 00002000 fe:01 9                          /tmp/a\012b (deleted)
7ffd1e5f2000-7ffd1e5f4000 r-xp 00000000 00:00 0                          [vdso]
broken
7f-6f r-xp 0 00:00 0
zz-6f r-xp 0 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`
	got, err := parseMaps(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []region{
		{0x55d0c0a01000, 0x55d0c0a03000, 0x1000, 123, "/usr/bin/x y"},
		{0x7f0000000000, 0x7f0000001000, 0, 0, ""},
		{0x7f0000002000, 0x7f0000003000, 0x2000, 9, `/tmp/a\012b (deleted)`},
		{0x7ffd1e5f2000, 0x7ffd1e5f4000, 0, 0, "[vdso]"},
		{0xffffffffff600000, 0xffffffffff601000, 0, 0, "[vsyscall]"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("mappings are %+v", got)
	}
	var names []string
	for _, r := range got {
		names = append(names, moduleName(r.path))
	}
	if want := []string{"x y", "[anon]", "a\nb", "[vdso]", "[vsyscall]"}; !slices.Equal(names, want) {
		t.Errorf("modules are %q", names)
	}
}

func TestPlumbing(t *testing.T) {
	for function, want := range map[string]bool{
		"runtime.goexit":                      true,
		"internal/poll.(*FD).Accept":          true,
		"net.(*TCPListener).Accept":           true,
		"net/http.(*conn).serve":              true,
		"vendor/golang.org/x/net/http2/x.F":   true,
		"main.main":                           false,
		"main.network.Dial":                   false,
		"example.com/net.Dial":                false,
		"example.com/runtime/x.(*T).F":        false,
		"network.Dial":                        false,
		"main.F[net.Conn]":                    false,
		"net.F[example.com/x.T]":              true,
		"std::io::Read::read":                 true,
		"<std::net::TcpStream as Read>::read": true,
		"standard::read":                      false,
		"__libc_start_main":                   true,
		"accept":                              true,
		"acceptor":                            false,
		"":                                    false,
	} {
		f := wantFrames()[0]
		f.Function, f.Module = function, "x"
		if Plumbing(&f) != want {
			t.Errorf("%q is plumbing: %v", function, !want)
		}
	}
	for module, want := range map[string]bool{"libc.so.6": true, "ld-linux-x86-64.so.2": true, "[vdso]": true, "libcurl.so.4": false, "libcache.so": false} {
		f := wantFrames()[0]
		f.Module = module
		if Plumbing(&f) != want {
			t.Errorf("%q is plumbing: %v", module, !want)
		}
	}
}
