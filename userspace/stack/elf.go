package stack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is believed of an ELF file. What is larger is not read: real
// programs stay far below, and a file that is in nobody's hands but an
// attacker's must cost no more than they do.
const (
	maxSegments = 128
	maxSections = 1024
	// maxName is how long a symbol's or a file's name is read; demangled ones
	// get a limit of their own.
	maxName = 4096
	// maxLine is more than the lines of any source file.
	maxLine = 1 << 24
)

var (
	errNotELF   = errors.New("not an ELF file of 64 bits, little endian")
	errTooLarge = errors.New("larger than any real program's")
	errOutside  = errors.New("points outside of the file")
)

// Values of the ELF format (elf(5)) that are needed beside debug/elf's types,
// which read whole tables at once.
const (
	headerSize    = 64
	segmentSize   = 56
	sectionSize   = 64
	ptLoad        = 1
	pfExec        = 1
	shtSymtab     = 2
	shtRela       = 4
	shtNobits     = 8
	shtDynsym     = 11
	shfCompressed = 0x800
)

// segment is what the loader maps.
type segment struct {
	offset, addr, size uint64
	exec               bool
}

// section is a named part of the file.
type section struct {
	name               string
	kind, link         uint32
	flags              uint64
	addr, offset, size uint64
}

// image is an ELF file, of which only the headers are kept.
type image struct {
	r        io.ReaderAt
	size     uint64
	segments []segment
	sections []section
}

// readImage reads the headers of an ELF file of size bytes. A file without
// section headers, or with broken ones, has none; that is no error.
func readImage(r io.ReaderAt, size int64) (*image, error) {
	f := &image{r: r, size: uint64(max(size, 0))}
	h, err := f.bytes(0, headerSize)
	if err != nil {
		return nil, errNotELF
	}
	// EI_CLASS 2 is 64 bits, EI_DATA 1 little endian, EI_VERSION 1.
	if string(h[:7]) != "\x7fELF\x02\x01\x01" {
		return nil, errNotELF
	}
	le := binary.LittleEndian
	if err := f.readSegments(le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])); err != nil {
		return nil, fmt.Errorf("reading program headers: %w", err)
	}
	if err := f.readSections(le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:]), le.Uint16(h[62:])); err != nil {
		f.sections = nil
	}
	return f, nil
}

func (f *image) readSegments(at uint64, each, count uint16) error {
	if count == 0 {
		return nil
	}
	if each != segmentSize || count > maxSegments {
		return errTooLarge
	}
	b, err := f.bytes(at, uint64(count)*segmentSize)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for ; len(b) > 0; b = b[segmentSize:] {
		if le.Uint32(b) != ptLoad {
			continue
		}
		f.segments = append(f.segments, segment{
			offset: le.Uint64(b[8:]),
			addr:   le.Uint64(b[16:]),
			size:   le.Uint64(b[32:]),
			exec:   le.Uint32(b[4:])&pfExec != 0,
		})
	}
	return nil
}

func (f *image) readSections(at uint64, each, count, names uint16) error {
	if count == 0 || each != sectionSize || count > maxSections || names >= count {
		return errTooLarge
	}
	b, err := f.bytes(at, uint64(count)*sectionSize)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	header := func(i uint16) []byte { return b[int(i)*sectionSize:] }
	table, tableSize := le.Uint64(header(names)[24:]), le.Uint64(header(names)[32:])
	for i := range count {
		h := header(i)
		s := section{
			kind: le.Uint32(h[4:]), flags: le.Uint64(h[8:]), addr: le.Uint64(h[16:]),
			offset: le.Uint64(h[24:]), size: le.Uint64(h[32:]), link: le.Uint32(h[40:]),
		}
		// 64 bytes hold the longest name that is looked for.
		if name := uint64(le.Uint32(h)); name < tableSize {
			s.name, _ = f.text(table+name, 64)
		}
		f.sections = append(f.sections, s)
	}
	return nil
}

// section finds a section with contents by its name.
func (f *image) section(name string) (section, bool) {
	for _, s := range f.sections {
		if s.name == name && s.kind != shtNobits && f.holds(s.offset, s.size) {
			return s, true
		}
	}
	return section{}, false
}

func (f *image) holds(at, n uint64) bool { return at <= f.size && n <= f.size-at }

// read fills b from the offset at.
func (f *image) read(at uint64, b []byte) error {
	if !f.holds(at, uint64(len(b))) {
		return errOutside
	}
	if _, err := f.r.ReadAt(b, int64(at)); err != nil {
		return fmt.Errorf("reading at %#x: %w", at, err)
	}
	return nil
}

// bytes reads n bytes, which the caller has bounded.
func (f *image) bytes(at, n uint64) ([]byte, error) {
	if !f.holds(at, n) {
		return nil, errOutside
	}
	b := make([]byte, n)
	return b, f.read(at, b)
}

func (f *image) u32(at uint64) (uint32, error) {
	var b [4]byte
	err := f.read(at, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (f *image) u64(at uint64) (uint64, error) {
	var b [8]byte
	err := f.read(at, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

// text reads a string that ends in a zero byte within limit bytes.
func (f *image) text(at uint64, limit int) (string, error) {
	var buf [256]byte
	var out []byte
	for {
		n := min(uint64(len(buf)), uint64(limit-len(out)))
		if at >= f.size || n == 0 {
			return "", errOutside
		}
		n = min(n, f.size-at)
		if err := f.read(at, buf[:n]); err != nil {
			return "", err
		}
		for i, c := range buf[:n] {
			if c == 0 {
				return string(append(out, buf[:i]...)), nil
			}
		}
		out, at = append(out, buf[:n]...), at+n
	}
}

// address returns the address that the linker gave the code at a file offset.
func (f *image) address(offset uint64) (uint64, bool) {
	for _, s := range f.segments {
		if s.exec && offset >= s.offset && offset-s.offset < s.size {
			return s.addr + (offset - s.offset), true
		}
	}
	return 0, false
}

// offset is the other way round, for code and data.
func (f *image) offset(addr uint64) (uint64, bool) {
	for _, s := range f.segments {
		if addr >= s.addr && addr-s.addr < s.size {
			return s.offset + (addr - s.addr), true
		}
	}
	return 0, false
}

// isCode reports whether an address can be executed.
func (f *image) isCode(addr uint64) bool {
	for _, s := range f.segments {
		if s.exec && addr >= s.addr && addr-s.addr < s.size {
			return true
		}
	}
	return false
}
