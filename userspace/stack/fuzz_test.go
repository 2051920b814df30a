package stack

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzObject reads any file as a program.
func FuzzObject(f *testing.F) {
	f.Add(smallGo(), uint64(atText+0x14), uint64(atText))
	for _, flags := range [][]string{{"gcc", "-g"}, {"gcc", "-gdwarf-4", "-ffunction-sections"}, {clang, "-g"}} {
		for _, b := range seed(f, flags...) {
			f.Add(b, uint64(0x1005), uint64(0x1010))
		}
	}
	f.Fuzz(checkObject)
}

// checkObject reads bytes as a program. It must come to an end, and what it says
// must be bounded.
func checkObject(t *testing.T, b []byte, one, other uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o := object{path: "/bin/shop", root: "/nowhere", r: bytes.NewReader(b), size: int64(len(b))}
	all, err := o.frames(ctx, []uint64{one, other})
	if ctx.Err() != nil {
		t.Fatal("took too long")
	}
	for _, off := range []uint64{one, other} {
		if err == nil && len(all[off]) == 0 {
			t.Errorf("no frame for %#x", off)
		}
		for _, frame := range all[off] {
			if len(frame.Function) > maxFunction || len(frame.File) > maxFunction || len(frame.Module) > 128 || frame.Line < 0 {
				t.Errorf("frame %+v", frame)
			}
		}
	}
}

// TestEveryByte changes each byte of a program that is in use, which a fuzzer
// takes long to find.
func TestEveryByte(t *testing.T) {
	programs := append(seed(t, "gcc", "-g"), smallGo())
	offsets := [][2]uint64{{0x1005, 0x1010}, {atText, atText + 0x14}}[2-len(programs):]
	for i, b := range programs {
		for at, was := range b {
			if was == 0 && at >= headerSize {
				continue
			}
			for _, v := range []byte{0, 1, 0x80, 0xff} {
				b[at] = v
				checkObject(t, b, offsets[i][0], offsets[i][1])
			}
			b[at] = was
		}
	}
}

// seed builds a program that is as small as one with lines gets; nothing if
// there is no such compiler.
func seed(f testing.TB, flags ...string) [][]byte {
	f.Helper()
	if _, err := exec.LookPath(flags[0]); err != nil {
		return nil
	}
	bin := filepath.Join(f.TempDir(), "seed")
	args := append(flags[1:], "-O2", "-shared", "-fPIC", "-nostdlib", "-o", bin, "testdata/native/library.c")
	if out, err := exec.Command(flags[0], args...).CombinedOutput(); err != nil {
		f.Fatalf("%v: %v\n%s", flags, err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		f.Fatal(err)
	}
	return [][]byte{b}
}

func FuzzMaps(f *testing.F) {
	f.Add("55d0c0a01000-55d0c0a03000 r-xp 00001000 fe:01 123                        /usr/bin/x y\n")
	f.Add("7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n")
	f.Add("7f0000002000-7f0000003000 rwxp 00002000 fe:01 9   /tmp/a\\012b (deleted)\n")
	f.Fuzz(func(t *testing.T, text string) {
		regions, _ := parseMaps(strings.NewReader(text))
		for i := range regions {
			r := &regions[i]
			if r.start >= r.end || len(moduleName(r.path)) > 128 {
				t.Errorf("mapping %+v", r)
			}
			if find(regions, r.start) == nil {
				t.Errorf("mapping %+v is not found", r)
			}
		}
	})
}

func FuzzDemangle(f *testing.F) {
	f.Add("_ZN4shop4CartIiE3payERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEi")
	f.Add("_RNvNtCs1234_7mycrate3foo3bar")
	f.Fuzz(func(t *testing.T, name string) {
		if got := demangled(name); len(got) > maxFunction {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func FuzzPacked(f *testing.F) {
	f.Add([]byte("\xfd7zXZ\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Made an ELF file's section, so that the library reads what is let
		// through.
		if checkPacked(b) == nil {
			framesIn(t, withSection(".gnu_debugdata", b), 0)
		}
	})
}

// withSection makes an ELF file of one section with a name of at most 60 bytes.
func withSection(name string, b []byte) []byte {
	const at = headerSize + 3*sectionSize + 128
	out := make([]byte, at, at+len(b))
	copy(out, "\x7fELF\x02\x01\x01")
	out[40] = headerSize
	copy(out[58:], []byte{sectionSize, 0, 3, 0, 2, 0})
	names := headerSize + 3*sectionSize
	copy(out[names+1:], name)
	section := func(i int, offset, size int) {
		h := out[headerSize+i*sectionSize:]
		h[0], h[4] = 1, 1
		putInt(h[24:], offset)
		putInt(h[32:], size)
	}
	section(1, at, len(b))
	section(2, names, 64)
	return append(out, b...)
}

func putInt(b []byte, n int) {
	for i := range 8 {
		b[i] = byte(n >> (8 * i))
	}
}
