package stack

import (
	"bytes"
	"compress/gzip"
	"debug/gosym"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Places in the smallest Go program: file offsets, which addresses count from 0x400000.
const (
	imageBase   = 0x400000
	atTable     = 0x200
	atNames     = atTable + 0x80
	atUnits     = atTable + 0x100
	atFiles     = atTable + 0x120
	atValues    = atTable + 0x140
	atFuncs     = atTable + 0x200
	atFunc      = atFuncs + 0x20
	atModule    = 0x600
	atTree      = 0x800
	atSections  = 0x900
	atText      = 0x1000
	imageSize   = 0x1100
	outer       = "main.outer"
	inner       = "main.inner[go.shape.int]"
	innerOffset = 1 + len(outer) + 1
)

// smallGo makes a program of one function of 64 bytes, main.outer, which has
// main.inner inlined into its second 16 bytes.
func smallGo() []byte {
	b := make([]byte, imageSize)
	le := binary.LittleEndian
	u32 := func(at int, v ...uint32) {
		for i, n := range v {
			le.PutUint32(b[at+4*i:], n)
		}
	}
	u64 := func(at int, v ...uint64) {
		for i, n := range v {
			le.PutUint64(b[at+8*i:], n)
		}
	}
	copy(b, "\x7fELF\x02\x01\x01")
	u64(32, headerSize, atSections)
	copy(b[54:], []byte{segmentSize, 0, 2, 0, sectionSize, 0, 4, 0, 3, 0})
	u32(headerSize, ptLoad, 4)
	u64(headerSize+8, 0, imageBase, imageBase, atText, atText, 0)
	u32(headerSize+segmentSize, ptLoad, 5)
	u64(headerSize+segmentSize+8, atText, imageBase+atText, imageBase+atText, 0x100, 0x100, 0)

	names := "\x00.gopclntab\x00.go.module\x00.shstrtab\x00"
	copy(b[0xb00:], names)
	for i, s := range []section{{}, {name: ".gopclntab", offset: atTable, size: 0x300}, {name: ".go.module", offset: atModule, size: moduleWords * 8}, {name: ".shstrtab", offset: 0xb00, size: uint64(len(names))}} {
		h := atSections + i*sectionSize
		if i > 0 {
			u32(h, uint32(strings.Index(names, s.name)), 1)
		}
		u64(h+24, s.offset, s.size)
	}

	u32(atTable, magicGo120)
	copy(b[atTable+6:], []byte{1, 8})
	u64(atTable+8, 1, 1, 0, atNames-atTable, atUnits-atTable, atFiles-atTable, atValues-atTable, atFuncs-atTable)
	copy(b[atNames:], "\x00"+outer+"\x00"+inner+"\x00")
	copy(b[atFiles:], "\x00shop/f.go\x00")
	u32(atUnits, 1)
	// Tables of values: files, lines, inlined calls.
	copy(b[atValues+1:], "\x02\x40\x00")
	copy(b[atValues+8:], "\x16\x10\x14\x10\x0f\x20\x00")
	copy(b[atValues+16:], "\x00\x10\x02\x10\x01\x20\x00")
	u32(atFuncs, 0, atFunc-atFuncs, 0x40)
	u32(atFunc, 0, 1, 0, 0, 0, 1, 8, 3, 0, 9, 4<<24, 0, 0, 16, noFuncData, noFuncData, noFuncData, 0)
	u32(atTree, 0, uint32(innerOffset), 8, 19)

	table := uint64(imageBase + atTable)
	u64(atModule, table)
	for word, part := range map[int]uint64{wordNames: atNames, wordUnits: atUnits, wordFiles: atFiles, wordValues: atValues} {
		u64(atModule+8*word, imageBase+part)
	}
	u64(atModule+8*wordMin, imageBase+atText, imageBase+atText+0x40, imageBase+atText, imageBase+atText+0x100)
	u64(atModule+8*wordData, imageBase+atTree)
	return b
}

// framesIn resolves offsets in a file of these bytes.
func framesIn(t testing.TB, b []byte, offsets ...uint64) string {
	t.Helper()
	o := object{path: "/bin/shop", root: "/nowhere", r: bytes.NewReader(b), size: int64(len(b))}
	all, err := o.frames(t.Context(), offsets)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, off := range offsets {
		out = append(out, show(all[off]))
	}
	return strings.Join(out, "\n")
}

func TestSmallGo(t *testing.T) {
	const (
		all   = "main.inner[...] f.go:20\nmain.outer f.go:10"
		names = "main.outer"
		none  = "shop+0x401014"
	)
	tests := []struct {
		name   string
		at     int
		change []byte
		want   string
	}{
		{"as it is", 0, nil, all},
		{"without sections", 0x3c, []byte{0, 0}, all},
		{"a call from outside of the function", atTree + 8, []byte{0x40}, names},
		{"a name that begins inside of another one", atTree + 4, []byte{3}, names},
		{"a name that is nowhere", atTree + 4, []byte{0xff, 0xff, 0xff, 0xff}, names},
		{"padding that is used", atTree + 1, []byte{1}, names},
		{"a tree in the code", atModule + 8*wordData, []byte{0, 0x10}, names},
		{"a tree nowhere", atModule + 8*wordData + 7, []byte{1}, names},
		{"a call that is its own caller", atTree + 8, []byte{0x14}, none},
		{"text elsewhere", atModule + 8*wordText, []byte{8}, none},
		{"text without end", atModule + 8*(wordText+1), make([]byte, 8), none},
		{"another table's module", atModule, []byte{8}, none},
		{"another part's address", atModule + 8*wordFiles, []byte{8}, none},
		{"a table of 2^63 functions", atTable + 15, []byte{0x80}, none},
		{"a table without functions", atTable + 8, []byte{0}, none},
		{"pointers of 4 bytes", atTable + 7, []byte{4}, none},
		{"a function that is another one", atFunc, []byte{4}, none},
		{"a function that ends before it begins", atFuncs + 8, []byte{0}, none},
		{"a name without end", atFunc + 4, []byte{0xff, 0xff}, none},
		{"too many tables", atFunc + 28, []byte{0xff}, none},
		{"no lines", atFunc + 24, []byte{24}, "main.inner[...]\nmain.outer"},
		{"lines of 2^31", atValues + 8, []byte{0xff, 0xff, 0xff, 0xff, 0x1f}, "main.inner[...]\nmain.outer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := smallGo()
			copy(b[tt.at:], tt.change)
			if got := framesIn(t, b, atText+0x14); got != tt.want {
				t.Errorf("frames are\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestSmallGoElsewhere(t *testing.T) {
	got := framesIn(t, smallGo(), atText, atText+0x3f, atText+0x40, 0x10)
	if want := "main.outer f.go:10\nmain.outer f.go:12\nshop+0x401040\nshop+0x10"; got != want {
		t.Errorf("frames are\n%s\nwant\n%s", got, want)
	}
}

// TestGo115 reads the table of a program that Go 1.15 made, which Go's sources
// bring along, and compares it with debug/gosym's reading.
func TestGo115(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.Open(filepath.Join(strings.TrimSpace(string(root)), "src/debug/gosym/testdata/pcln115.gz"))
	if err != nil {
		t.Skip("this Go comes without its tests")
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	const text = 0x1001000
	peer, err := gosym.NewTable(nil, gosym.NewLineTable(b, text))
	if err != nil {
		t.Fatal(err)
	}
	table := &goTable{f: &image{r: bytes.NewReader(b), size: uint64(len(b))}, size: uint64(len(b))}
	if err := table.readHeader(); err != nil {
		t.Fatal(err)
	}
	if len(peer.Funcs) < 1000 {
		t.Fatalf("the other table has %d functions", len(peer.Funcs))
	}
	for _, fn := range peer.Funcs {
		got, err := table.lookup((fn.Entry + fn.End) / 2)
		if err != nil || len(got) != 1 || got[0].Function != printed(fn.Name) {
			t.Fatalf("at %#x: %+v, %v, want %s", fn.Entry, got, err, fn.Name)
		}
	}
}
