package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// What Go's linker puts first into its table of functions and lines
// (internal/abi/symtab.go). The number changes with the format.
const (
	magicGo12  = 0xfffffffb
	magicGo116 = 0xfffffffa
	magicGo118 = 0xfffffff0
	magicGo120 = 0xfffffff1
)

const (
	// maxFuncs is ten times the functions of the largest Go programs known
	// (kube-apiserver and the like: some 200,000).
	maxFuncs = 4 << 20
	// maxValueTable is how many bytes of one function's table of values are
	// read. A function of 100,000 lines has some 400 KB.
	maxValueTable = 1 << 20
	// maxValues is how many bytes of such tables one answer reads: a hundred
	// addresses with ten inlined functions take some 1 MB.
	maxValues = 64 << 20
)

var (
	errNoGo     = errors.New("no Go program")
	errBrokenGo = errors.New("broken table of Go functions")
	errUnknown  = errors.New("not in the table")
)

// goTable reads Go's function table where it lies in the file, a few bytes at a
// time. All positions in it are file offsets.
type goTable struct {
	f     *image
	magic uint32
	// base and addr are where the table begins, in the file and in memory.
	base, addr uint64
	size       uint64
	quantum    uint64
	funcs      uint64
	// names, units, files, values and entries are its parts.
	names, units, files, values, entries uint64
	// text is the address that functions' entries count from, data the one
	// inline trees do; 0 if not known.
	text, data uint64
	// read is how much of tables of values was read.
	read uint64
}

// openGo finds the function table of a Go program.
func openGo(ctx context.Context, f *image) (*goTable, error) {
	base, size, err := findTable(ctx, f)
	if err != nil {
		return nil, err
	}
	t := &goTable{f: f, base: base, size: size}
	if err := t.readHeader(); err != nil {
		return nil, err
	}
	if t.relative() {
		if err := t.readModule(ctx); err != nil {
			return nil, fmt.Errorf("finding the text of a Go program: %w", err)
		}
	}
	return t, nil
}

// tableHeader is as long as the longest header.
const tableHeader = 8 + 8*8

func (t *goTable) readHeader() error {
	h, err := t.f.bytes(t.base, tableHeader)
	if err != nil {
		return err
	}
	magic, quantum, ok := tableStart(h)
	if !ok {
		return errBrokenGo
	}
	t.magic, t.quantum = magic, quantum
	t.addr = t.address()
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(h[8+8*i:]) }
	t.funcs = word(0)
	parts := []*uint64{&t.names, &t.units, &t.files, &t.values, &t.entries}
	first := 3
	switch magic {
	case magicGo12:
		// One table; every offset in it counts from its beginning.
		for _, p := range parts {
			*p = t.base
		}
		t.entries = t.base + 16
		parts = nil
	case magicGo116:
		first = 2
	}
	for i, p := range parts {
		at := word(first + i)
		if at >= t.size {
			return errBrokenGo
		}
		*p = t.base + at
	}
	if t.funcs == 0 || t.funcs > maxFuncs || !t.f.holds(t.entries, (2*t.funcs+1)*t.entrySize()) {
		return errBrokenGo
	}
	return nil
}

// tableStart reads the first eight bytes of a table.
func tableStart(h []byte) (magic uint32, quantum uint64, ok bool) {
	magic = binary.LittleEndian.Uint32(h)
	switch magic {
	case magicGo12, magicGo116, magicGo118, magicGo120:
	default:
		return 0, 0, false
	}
	// Two zeros, the size of the smallest instruction, that of a pointer.
	ok = h[4] == 0 && h[5] == 0 && (h[6] == 1 || h[6] == 2 || h[6] == 4) && h[7] == 8
	return magic, uint64(h[6]), ok
}

// address is where the table is mapped, 0 if it is not.
func (t *goTable) address() uint64 {
	for _, s := range t.f.segments {
		if t.base >= s.offset && t.base-s.offset < s.size {
			return s.addr + (t.base - s.offset)
		}
	}
	return 0
}

// relative reports whether entries count from the text's beginning (since 1.18).
func (t *goTable) relative() bool { return t.magic == magicGo118 || t.magic == magicGo120 }

// entrySize is that of one word in the list of functions.
func (t *goTable) entrySize() uint64 {
	if t.relative() {
		return 4
	}
	return 8
}

func (t *goTable) word(at uint64) (uint64, error) {
	if t.relative() {
		v, err := t.f.u32(at)
		return uint64(v), err
	}
	return t.f.u64(at)
}

// goFunc is one function in the table.
type goFunc struct {
	// at is where its record begins; entry and end are addresses.
	at, entry, end uint64
}

// find returns the function that an address is in.
func (t *goTable) find(addr uint64) (goFunc, error) {
	target := addr
	if t.relative() {
		if addr < t.text {
			return goFunc{}, errUnknown
		}
		target -= t.text
	}
	step := 2 * t.entrySize()
	var failed error
	// The first function that begins behind the address.
	next := sort.Search(int(t.funcs), func(i int) bool {
		entry, err := t.word(t.entries + uint64(i)*step)
		if err != nil {
			failed = err
		}
		return entry > target
	})
	if failed != nil {
		return goFunc{}, failed
	}
	if next == 0 {
		return goFunc{}, errUnknown
	}
	at := t.entries + uint64(next-1)*step
	var v [3]uint64
	for i := range v {
		var err error
		if v[i], err = t.word(at + uint64(i)*t.entrySize()); err != nil {
			return goFunc{}, err
		}
	}
	// A broken table is not sorted.
	if target < v[0] || target >= v[2] {
		return goFunc{}, errUnknown
	}
	fn := goFunc{entry: v[0], end: v[2], at: t.entries + v[1]}
	if t.relative() {
		fn.entry, fn.end = fn.entry+t.text, fn.end+t.text
	}
	if t.magic == magicGo12 {
		fn.at = t.base + v[1]
	}
	return fn, t.check(fn)
}

// check compares the record's own idea of where the function begins.
func (t *goTable) check(fn goFunc) error {
	entry, err := t.word(fn.at)
	if err != nil {
		return err
	}
	if t.relative() {
		entry += t.text
	}
	if entry != fn.entry {
		return errBrokenGo
	}
	return nil
}

// name reads a name at an offset in the table of names.
func (t *goTable) name(off uint32) (string, error) {
	return t.f.text(t.names+uint64(off), maxName)
}

// value looks up what a function's table of values says of an address. Such a
// table is pairs of differences: of the value (zig-zag) and of the address.
func (t *goTable) value(table uint32, fn goFunc, addr uint64) (int32, error) {
	r := varints{t: t, at: t.values + uint64(table), left: maxValueTable}
	val, pc := int32(-1), fn.entry
	for first := true; ; first = false {
		dv, err := r.next()
		if err != nil {
			return 0, err
		}
		if dv == 0 && !first {
			return 0, errUnknown
		}
		val += int32(-(dv & 1) ^ (dv >> 1))
		dp, err := r.next()
		if err != nil {
			return 0, err
		}
		pc += uint64(dp) * t.quantum
		if addr < pc {
			return val, nil
		}
	}
}

// varints reads numbers of seven bits a byte.
type varints struct {
	t    *goTable
	at   uint64
	left int
	buf  [256]byte
	b    []byte
}

func (r *varints) next() (uint32, error) {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if len(r.b) == 0 {
			if err := r.fill(); err != nil {
				return 0, err
			}
		}
		c := r.b[0]
		r.b = r.b[1:]
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v, nil
		}
	}
	return 0, errBrokenGo
}

func (r *varints) fill() error {
	n := min(uint64(len(r.buf)), uint64(r.left))
	f := r.t.f
	if r.at >= f.size || n == 0 {
		return errBrokenGo
	}
	n = min(n, f.size-r.at)
	if r.t.read += n; r.t.read > maxValues {
		return errTooLarge
	}
	if err := f.read(r.at, r.buf[:n]); err != nil {
		return err
	}
	r.b, r.at, r.left = r.buf[:n], r.at+n, r.left-int(n)
	return nil
}
