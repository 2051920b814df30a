package stack

import (
	"debug/elf"
	"debug/gosym"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryFunction compares what the table says of each function of a program
// with its symbols, and the lines with debug/gosym's reading, for machines that the
// tests do not run on too.
func TestEveryFunction(t *testing.T) {
	for _, tt := range []struct {
		arch  string
		flags []string
	}{
		{"amd64", nil},
		{"amd64", []string{"-buildmode=pie"}},
		{"arm64", []string{"-buildmode=pie"}},
	} {
		t.Run(tt.arch+strings.Join(tt.flags, ""), func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "child")
			cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", bin}, append(tt.flags, "./testdata/child")...)...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+tt.arch)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("building: %v\n%s", err, out)
			}
			everyFunction(t, bin)
		})
	}
}

func everyFunction(t *testing.T, bin string) {
	f, err := os.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := readImage(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	table, err := openGo(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := peer.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := peer.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := gosym.NewTable(nil, gosym.NewLineTable(raw, table.text))
	if err != nil {
		t.Fatal(err)
	}
	functions, inlined := 0, 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || !table.holds(s.Value) {
			continue
		}
		functions++
		for _, addr := range []uint64{s.Value, s.Value + s.Size/2&^3, s.Value + (s.Size-1)&^3} {
			got, err := table.lookup(addr)
			if err != nil {
				t.Fatalf("%s at %#x: %v", s.Name, addr, err)
			}
			if last := got[len(got)-1]; strings.ReplaceAll(last.Function, "·", ".") != printed(s.Name) && !strings.HasSuffix(s.Name, ".abi0") {
				t.Fatalf("at %#x is %s, want %s", addr, last.Function, s.Name)
			}
			if len(got) > 1 {
				inlined++
			}
			if _, line, _ := lines.PCToLine(addr); line != got[0].Line && got[0].Line != 0 {
				t.Errorf("%s at %#x is in line %d, want %d", s.Name, addr, got[0].Line, line)
			}
		}
	}
	t.Logf("%d functions, %d addresses in inlined ones", functions, inlined)
	if functions < 1000 || inlined < 100 {
		t.Errorf("%d functions, %d addresses in inlined ones: the test saw less than there is", functions, inlined)
	}
}

// holds reports whether an address is in the table at all; linkers add symbols of
// their own.
func (t *goTable) holds(addr uint64) bool {
	_, err := t.find(addr)
	return err == nil
}
