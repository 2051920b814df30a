package stack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// command runs a tool and returns what it wrote.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

// clang as the first flag names the compiler; the pinned one of the Makefile.
const clang = "clang-16"

// buildC builds the C child and its library into a new folder.
func buildC(t *testing.T, flags ...string) (bin, lib string) {
	t.Helper()
	dir := t.TempDir()
	bin, lib = filepath.Join(dir, "child"), filepath.Join(dir, "libmiddle.so")
	compiler := "gcc"
	if flags[0] == clang {
		compiler, flags = clang, flags[1:]
	}
	common := append([]string{"-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-Wl,--build-id=sha1"}, flags...)
	command(t, compiler, append(common, "-shared", "-fPIC", "-o", lib, "testdata/native/library.c")...)
	command(t, compiler, append(common, "-o", bin, "testdata/native/child.c", lib, "-Wl,-rpath,"+dir)...)
	return bin, lib
}

// addr2line asks binutils for an address, innermost first.
func addr2line(t *testing.T, bin string, addr uint64) []finding.Frame {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(command(t, "addr2line", "-f", "-i", "-C", "-e", bin, fmt.Sprintf("%#x", addr))), "\n")
	var out []finding.Frame
	for i := 0; i+1 < len(lines); i += 2 {
		at, _, _ := strings.Cut(lines[i+1], " (discriminator")
		colon := strings.LastIndexByte(at, ':')
		n, _ := strconv.Atoi(at[colon+1:])
		f := finding.Frame{Function: lines[i], File: at[:colon], Line: n}
		if n == 0 {
			f.File = ""
		}
		out = append(out, f)
	}
	return out
}

// shown is a frame as "function file:line".
func shown(f finding.Frame) string {
	if f.Function == "" {
		return fmt.Sprintf("%s+%#x", f.Module, f.Offset)
	}
	if f.File == "" {
		return f.Function
	}
	return fmt.Sprintf("%s %s:%d", f.Function, path.Base(f.File), f.Line)
}

func show(frames []finding.Frame) string {
	var out []string
	for _, f := range frames {
		out = append(out, shown(f))
	}
	return strings.Join(out, "\n")
}

// spokenC runs a native child and returns it and the addresses it wrote.
func spokenC(t *testing.T, bin string) (*child, []uint64) {
	t.Helper()
	c := run(t, bin)
	var addrs []uint64
	c.speak(t, &addrs)
	return c, addrs
}

// want is what the C child's stack is: with lines where there is DWARF, and
// with names where there are any.
const (
	wantLines = `innermost child.c:17
folded child.c:26
inner child.c:32
middle library.c:4
outer child.c:38
main child.c:46`
	wantNames = "innermost\ninner\nmiddle\nouter\nmain"
)

func checkC(t *testing.T, s *Symbols, bin, want string) {
	t.Helper()
	c, addrs := spokenC(t, bin)
	got := resolve(t, s, c.process(), addrs...)
	if show(got) != want {
		t.Errorf("frames are\n%s\nwant\n%s", show(got), want)
	}
}

func TestC(t *testing.T) {
	for _, flags := range [][]string{
		{"-g"},
		{"-g", "-no-pie"},
		{"-g", "-gdwarf-4"},
		{"-g", "-gz=zlib"},
		{"-g", "-Wl,-z,separate-code"},
		{"-g", "-ffunction-sections"},
		{clang, "-g"},
		{clang, "-g", "-gdwarf-4"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			bin, lib := buildC(t, flags...)
			c, addrs := spokenC(t, bin)
			got := resolve(t, New("/proc"), c.process(), addrs...)
			// Where a label is in the end is up to the compiler.
			if show(got) != wantLines && flags[0] != clang {
				t.Errorf("frames are\n%s\nwant\n%s", show(got), wantLines)
			}
			if len(got) != 6 || got[1].Function != "folded" {
				t.Fatalf("frames are\n%s", show(got))
			}
			// binutils sees the same at the same addresses.
			for i := 0; i < len(got); {
				of := bin
				if got[i].Module == filepath.Base(lib) {
					of = lib
				}
				peer := addr2line(t, of, got[i].Offset)
				for j := range peer {
					if g := got[i+j]; peer[j].Function != g.Function || peer[j].Line != g.Line || peer[j].File != g.File {
						t.Errorf("frame %d is %s in %s, addr2line says %s in %s", i+j, shown(g), g.File, shown(peer[j]), peer[j].File)
					}
				}
				i += len(peer)
			}
		})
	}
}

func TestCWithoutLines(t *testing.T) {
	bin, _ := buildC(t, "-g0")
	checkC(t, New("/proc"), bin, wantNames)
}

// Without symbols a frame has its module and its address there, and an exported
// function its name.
func TestCStripped(t *testing.T) {
	bin, lib := buildC(t, "-g")
	c, addrs := spokenC(t, bin)
	plain := resolve(t, New("/proc"), c.process(), addrs...)
	c.end()
	command(t, "strip", bin, lib)
	c, addrs = spokenC(t, bin)
	var want []string
	for i, f := range plain {
		switch f.Function {
		case "folded":
		case "middle":
			want = append(want, "middle")
		default:
			want = append(want, shown(finding.Frame{Module: "child", Offset: plain[i].Offset}))
		}
	}
	if got := show(resolve(t, New("/proc"), c.process(), addrs...)); got != strings.Join(want, "\n") {
		t.Errorf("frames are\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// split moves the debug data of a file to another one.
func split(t *testing.T, bin, debug string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(debug), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "objcopy", "--only-keep-debug", bin, debug)
	command(t, "strip", bin)
}

func idOf(t *testing.T, bin string) string {
	t.Helper()
	r, err := os.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := readImage(r, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return buildID(f)
}

func TestSeparateByBuildID(t *testing.T) {
	bin, lib := buildC(t, "-g")
	root := t.TempDir()
	for _, f := range []string{bin, lib} {
		id := idOf(t, f)
		if len(id) != 40 {
			t.Fatalf("build id of %s is %q", f, id)
		}
		split(t, f, filepath.Join(root, "usr/lib/debug/.build-id", id[:2], id[2:]+".debug"))
	}
	s := New("/proc")
	s.roots = []string{root}
	checkC(t, s, bin, wantLines)
}

func TestSeparateByLink(t *testing.T) {
	for _, where := range []string{".", ".debug"} {
		t.Run(where, func(t *testing.T) {
			bin, lib := buildC(t, "-g", "-Wl,--build-id=none")
			for _, f := range []string{bin, lib} {
				debug := filepath.Join(filepath.Dir(f), where, filepath.Base(f)+".dbg")
				split(t, f, debug)
				command(t, "objcopy", "--add-gnu-debuglink="+debug, f)
			}
			checkC(t, New("/proc"), bin, wantLines)
		})
	}
}

// Another build's debug file has other addresses.
func TestSeparateOfAnother(t *testing.T) {
	bin, _ := buildC(t, "-g", "-Wl,--build-id=none")
	debug := filepath.Join(filepath.Dir(bin), "child.dbg")
	split(t, bin, debug)
	command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
	f, err := os.OpenFile(debug, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c, addrs := spokenC(t, bin)
	if got := resolve(t, New("/proc"), c.process(), addrs...); got[0].Function != "" {
		t.Errorf("named %s by a file with another checksum", got[0].Function)
	}
}

func TestMiniDebug(t *testing.T) {
	bin, _ := buildC(t, "-g0")
	dir := t.TempDir()
	mini := filepath.Join(dir, "mini")
	command(t, "objcopy", "--only-keep-debug", bin, mini)
	command(t, "xz", mini)
	command(t, "strip", bin)
	command(t, "objcopy", "--add-section", ".gnu_debugdata="+mini+".xz", bin)
	checkC(t, New("/proc"), bin, wantNames)
}

func TestCPlusPlus(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "child")
	flags := []string{"-O2", "-fno-omit-frame-pointer", "-o", bin, "testdata/native/child.cc"}
	command(t, "g++", flags...)
	checkC(t, New("/proc"), bin, "shop::Cart<int>::pay\nmain")

	command(t, "g++", append(flags, "-g")...)
	c, addrs := spokenC(t, bin)
	got := resolve(t, New("/proc"), c.process(), addrs...)
	if len(got) != 2 || got[0].Function != "shop::Cart<int>::pay" || got[1].Function != "main" {
		t.Fatalf("frames are\n%s", show(got))
	}
	for _, g := range got {
		if peer := addr2line(t, bin, g.Offset)[0]; g.Line != peer.Line || g.File != peer.File {
			t.Errorf("frame is %s, addr2line says %s", shown(g), shown(peer))
		}
	}
}

func TestRust(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the child's assembler is amd64's")
	}
	bin := filepath.Join(t.TempDir(), "child")
	for _, flags := range [][]string{{"-g"}, {"-Cdebuginfo=0"}, {"-g", "-Csymbol-mangling-version=v0"}} {
		command(t, "rustc", append(flags, "-O", "-Cforce-frame-pointers=yes", "-o", bin, "testdata/native/child.rs")...)
		c, addrs := spokenC(t, bin)
		got := resolve(t, New("/proc"), c.process(), addrs...)
		want := []string{"child::shop::Cart::pay child.rs:8", "child::order child.rs:20"}
		for i := range want {
			if flags[0] != "-g" {
				want[i], _, _ = strings.Cut(want[i], " ")
			}
		}
		// The newer names tell a type's own functions.
		if strings.ReplaceAll(show(got), "<child::shop::Cart>", "child::shop::Cart") != strings.Join(want, "\n") {
			t.Errorf("%v: frames are\n%s", flags, show(got))
		}
		c.end()
	}
}
