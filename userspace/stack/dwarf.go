package stack

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// maxUnpacked is how much of one compressed section is unpacked into memory.
	maxUnpacked = 32 << 20
	// maxUnit is how large one unit of DWARF may be: what one source file
	// makes of itself and all it includes. All of it is in memory for a moment.
	maxUnit = 16 << 20
	// maxUnits is how many units are looked at for an address; Chromium has 30,000.
	maxUnits = 1 << 17
	// maxAbbrevs and maxAttributes bound the shapes of entries in a unit.
	maxAbbrevs, maxAttributes = 1 << 16, 128
	// maxRangeBytes is how much of one list of ranges is read.
	maxRangeBytes = 256 << 10
)

var (
	errNoLines = errors.New("no DWARF")
	errBroken  = errors.New("broken DWARF")
)

// debugData is a file's DWARF. debug/dwarf would read the same, but it trusts
// its input: a count in a header, or one long name that many attributes refer
// to, makes it allocate without bound.
type debugData struct {
	info, abbrev, line, str, lineStr, ranges, rngLists, addr, strOffsets *image
}

// openDWARF finds a file's DWARF. Sections are read where they are, unless they are
// compressed.
func openDWARF(f *image) (*debugData, error) {
	d := &debugData{}
	for _, p := range []struct {
		name string
		to   **image
		must bool
	}{
		{".debug_info", &d.info, true},
		{".debug_abbrev", &d.abbrev, true},
		{".debug_line", &d.line, true},
		{".debug_str", &d.str, false},
		{".debug_line_str", &d.lineStr, false},
		{".debug_ranges", &d.ranges, false},
		{".debug_rnglists", &d.rngLists, false},
		{".debug_addr", &d.addr, false},
		{".debug_str_offsets", &d.strOffsets, false},
	} {
		s, ok := f.section(p.name)
		if !ok && p.must {
			return nil, errNoLines
		}
		*p.to = &image{r: bytes.NewReader(nil)}
		if !ok {
			continue
		}
		part, err := openSection(f, s)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", p.name, err)
		}
		*p.to = part
	}
	return d, nil
}

// openSection makes a section readable by itself.
func openSection(f *image, s section) (*image, error) {
	if s.flags&shfCompressed == 0 {
		return &image{r: io.NewSectionReader(f.r, int64(s.offset), int64(s.size)), size: s.size}, nil
	}
	// Elf64_Chdr: kind (1 is zlib), padding, size, alignment.
	h, err := f.bytes(s.offset, 24)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(h) != 1 {
		return nil, errPacked
	}
	if s.size < 24 || binary.LittleEndian.Uint64(h[8:]) > maxUnpacked {
		return nil, errTooLarge
	}
	r, err := zlib.NewReader(io.NewSectionReader(f.r, int64(s.offset+24), int64(s.size-24)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// As much is allocated as comes out, whatever the header says.
	b, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
	if err != nil {
		return nil, err
	}
	return &image{r: bytes.NewReader(b), size: uint64(len(b))}, nil
}

// dwarfUnit is what one source file became.
type dwarfUnit struct {
	// start is where its header begins in .debug_info, first where its
	// first entry does, end where it ends.
	start, first, end uint64
	version           uint16
	abbrevs           uint64
	// root is its first entry.
	root dwarfEntry
	// strBase, addrBase and rangeBase are where its parts of tables begin.
	strBase, addrBase, rangeBase uint64
}

// unitAt reads a unit's header. Next is where the following one begins, 0 if
// that cannot be known.
func (d *debugData) unitAt(at uint64) (u *dwarfUnit, next uint64, err error) {
	n := min(uint64(24), d.info.size-at)
	b, err := d.info.bytes(at, n)
	if err != nil {
		return nil, 0, err
	}
	c := cursor{b: b}
	size := uint64(c.u32())
	// 0xffffffff begins DWARF of 64 bits, which takes more than 4 GB to be of use.
	if c.failed || size >= 0xfffffff0 || size > d.info.size-at-4 {
		return nil, 0, errBroken
	}
	next = at + 4 + size
	u = &dwarfUnit{start: at, end: next, version: c.u16()}
	kind, width := uint8(unitCompile), uint8(0)
	switch {
	case u.version >= 2 && u.version <= 4:
		u.abbrevs = uint64(c.u32())
		width = c.u8()
	case u.version == 5:
		kind = c.u8()
		width = c.u8()
		u.abbrevs = uint64(c.u32())
	default:
		return nil, next, errBroken
	}
	u.first = at + uint64(c.at)
	if c.failed || width != 8 || kind != unitCompile || u.first > u.end {
		return nil, next, errBroken
	}
	return u, next, nil
}

// Values of DWARF (version 5, section 7).
const (
	unitCompile = 1

	tagClass      = 0x02
	tagLexical    = 0x0b
	tagUnit       = 0x11
	tagStruct     = 0x13
	tagInlined    = 0x1d
	tagModule     = 0x1e
	tagSubprogram = 0x2e
	tagNamespace  = 0x39
)

// unitOf finds the unit that an address is in.
func (d *debugData) unitOf(ctx context.Context, addr uint64) (*dwarfUnit, error) {
	at := uint64(0)
	for range maxUnits {
		if at >= d.info.size {
			return nil, errUnknown
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		u, next, err := d.unitAt(at)
		if next <= at {
			return nil, errBroken
		}
		at = next
		if err != nil || d.readRoot(u) != nil {
			continue
		}
		if d.covers(u, &u.root, addr) {
			return u, nil
		}
	}
	return nil, errTooLarge
}

// readRoot reads a unit's first entry, which all others need.
func (d *debugData) readRoot(u *dwarfUnit) error {
	// More than the attributes of any compiler's unit take.
	b, err := d.info.bytes(u.first, min(u.end-u.first, 4096))
	if err != nil {
		return err
	}
	c := cursor{b: b}
	shape, err := d.abbrev1(u.abbrevs, c.uleb())
	if err != nil {
		return err
	}
	u.root = c.entry(u, u.first, shape)
	if c.failed || shape.tag != tagUnit {
		return errBroken
	}
	u.strBase, u.addrBase, u.rangeBase = u.root.strBase, u.root.addrBase, u.root.rangeBase
	return nil
}

// covers reports whether an entry's code includes an address.
func (d *debugData) covers(u *dwarfUnit, e *dwarfEntry, addr uint64) bool {
	if e.ranges.form != 0 {
		return d.inRanges(u, e.ranges, addr)
	}
	if e.low.form == 0 || e.high.form == 0 {
		return false
	}
	low, ok := d.address(u, e.low)
	if !ok {
		return false
	}
	high := low + e.high.n
	if e.high.isAddress() {
		if high, ok = d.address(u, e.high); !ok {
			return false
		}
	}
	return addr >= low && addr < high
}

// address reads an address, or looks it up in the unit's table.
func (d *debugData) address(u *dwarfUnit, v value) (uint64, bool) {
	if v.form == formAddr {
		return v.n, true
	}
	return d.indexed(u, v.n)
}

func (d *debugData) indexed(u *dwarfUnit, i uint64) (uint64, bool) {
	if i > d.addr.size/8 {
		return 0, false
	}
	a, err := d.addr.u64(u.addrBase + 8*i)
	return a, err == nil
}

// text reads a string that an attribute refers to, "" if that is not there.
func (d *debugData) text(u *dwarfUnit, v value) string {
	part, at := d.str, v.n
	switch v.form {
	case formString:
		part = d.info
	case formStrp:
	case formLineStrp:
		part = d.lineStr
	case formStrx, formStrx1, formStrx2, formStrx3, formStrx4:
		if v.n > d.strOffsets.size/4 {
			return ""
		}
		off, err := d.strOffsets.u32(u.strBase + 4*v.n)
		if err != nil {
			return ""
		}
		at = uint64(off)
	default:
		return ""
	}
	s, _ := part.text(at, maxName)
	return s
}
