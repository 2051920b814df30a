package stack

import (
	"bytes"
	"context"
	"encoding/binary"
)

// chunk is how much is read at once where a file is searched.
const chunk = 64 << 10

// maxSearch is how much of a file is searched for what has no section of its
// own; relocations of the largest Go programs take some 20 MB.
const maxSearch = 256 << 20

// findTable finds Go's function table: by the section's name, and where a linker
// put it into another one (the C linker, into .data.rel.ro of position
// independent programs) or took the names away, by how it begins.
func findTable(ctx context.Context, f *image) (at, size uint64, err error) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s, ok := f.section(name); ok {
			return s.offset, s.size, nil
		}
	}
	if !mayBeGo(f) {
		return 0, 0, errNoGo
	}
	for _, name := range []string{".data.rel.ro", ".rodata"} {
		if s, ok := f.section(name); ok {
			if at, err := searchTable(ctx, f, s.offset, s.size); err == nil {
				return at, s.offset + s.size - at, nil
			}
		}
	}
	if len(f.sections) > 0 {
		return 0, 0, errNoGo
	}
	for _, s := range f.segments {
		if s.exec || !f.holds(s.offset, s.size) {
			continue
		}
		if at, err := searchTable(ctx, f, s.offset, s.size); err == nil {
			return at, s.offset + s.size - at, nil
		}
	}
	return 0, 0, errNoGo
}

// mayBeGo spares most programs in C the search: Go's linker leaves sections
// that strip keeps. A file without section names may be anything.
func mayBeGo(f *image) bool {
	if len(f.sections) == 0 {
		return true
	}
	for _, name := range []string{".go.buildinfo", ".note.go.buildid"} {
		if _, ok := f.section(name); ok {
			return true
		}
	}
	return false
}

// searchTable looks for the beginning of a table that holds together. The
// linker aligns it to 16 bytes at least.
func searchTable(ctx context.Context, f *image, at, size uint64) (uint64, error) {
	found := uint64(0)
	err := scan(ctx, f, at, size, func(at uint64, b []byte) bool {
		for i := 0; i+8 <= len(b); i += 8 {
			if b[i+3] != 0xff || b[i+7] != 8 {
				continue
			}
			if _, _, ok := tableStart(b[i:]); !ok {
				continue
			}
			t := &goTable{f: f, base: at + uint64(i), size: f.size - at - uint64(i)}
			if t.readHeader() == nil {
				found = t.base
				return false
			}
		}
		return true
	})
	if err == nil && found == 0 {
		err = errNoGo
	}
	return found, err
}

// scan gives a part of the file to fn, piece by piece, until fn has enough.
// Pieces are multiples of 24 bytes and of 8, the last one excepted.
func scan(ctx context.Context, f *image, at, size uint64, fn func(at uint64, b []byte) bool) error {
	if !f.holds(at, size) {
		return errOutside
	}
	buf := make([]byte, chunk/24*24)
	size = min(size, maxSearch)
	for size > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(uint64(len(buf)), size)]
		if err := f.read(at, b); err != nil {
			return err
		}
		if !fn(at, b) {
			return nil
		}
		at, size = at+uint64(len(b)), size-uint64(len(b))
	}
	return nil
}

// Words of runtime.moduledata (runtime/symtab.go). Its beginning is the same
// since 1.16; what is behind it moved, and is checked before it is believed.
const (
	wordNames   = 1
	wordUnits   = 4
	wordFiles   = 7
	wordValues  = 10
	wordMin     = 20
	wordText    = 22
	wordEndText = 23
	wordData    = 40 // gofunc, 1.20 and later
	moduleWords = 41
)

// readModule finds runtime.moduledata, which alone tells where functions'
// entries count from: the section's beginning is something else where a C
// linker put its own code first, and the table itself says so no more since
// 1.26. It is found by its first word, the address of the table.
func (t *goTable) readModule(ctx context.Context) error {
	for _, name := range []string{".go.module", ".noptrdata", ".data", ".data.rel.ro"} {
		s, ok := t.f.section(name)
		if !ok {
			continue
		}
		if t.searchModule(ctx, s.offset, s.size) == nil {
			return nil
		}
	}
	if t.searchRelocated(ctx) == nil {
		return nil
	}
	if len(t.f.sections) == 0 {
		for _, s := range t.f.segments {
			if !s.exec && t.f.holds(s.offset, s.size) && t.searchModule(ctx, s.offset, s.size) == nil {
				return nil
			}
		}
	}
	return errBrokenGo
}

// searchModule looks for moduledata with addresses filled in by the linker.
func (t *goTable) searchModule(ctx context.Context, at, size uint64) error {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], t.addr)
	found := false
	err := scan(ctx, t.f, at, size, func(at uint64, b []byte) bool {
		for from := 0; !found; {
			i := bytes.Index(b[from:], word[:])
			if i < 0 {
				break
			}
			module, err := t.f.bytes(at+uint64(from+i), moduleWords*8)
			found = err == nil && t.believe(func(word int) uint64 {
				return binary.LittleEndian.Uint64(module[8*word:])
			})
			from += i + 1
		}
		return !found
	})
	if err == nil && !found {
		err = errUnknown
	}
	return err
}

// relativeReloc tells R_X86_64_RELATIVE and R_AARCH64_RELATIVE: the address the
// program is loaded at, plus a number.
func relativeReloc(info uint64) bool { return info == 8 || info == 1027 }

// searchRelocated looks for moduledata whose addresses the loader fills in:
// first for relocations that make the table's address, then for all that fall
// into the words behind one of these.
func (t *goTable) searchRelocated(ctx context.Context) error {
	const maxCandidates = 8
	var at []uint64
	each := func(fn func(where, value uint64)) error {
		for _, s := range t.f.sections {
			if s.kind != shtRela || !t.f.holds(s.offset, s.size) {
				continue
			}
			if err := scan(ctx, t.f, s.offset, s.size, func(_ uint64, b []byte) bool {
				for ; len(b) >= 24; b = b[24:] {
					if relativeReloc(binary.LittleEndian.Uint64(b[8:])) {
						fn(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[16:]))
					}
				}
				return true
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(func(where, value uint64) {
		if value == t.addr && len(at) < maxCandidates {
			at = append(at, where)
		}
	}); err != nil || len(at) == 0 {
		return errUnknown
	}
	words := make([][moduleWords]uint64, len(at))
	if err := each(func(where, value uint64) {
		for i := range at {
			if d := where - at[i]; where >= at[i] && d < moduleWords*8 && d%8 == 0 {
				words[i][d/8] = value
			}
		}
	}); err != nil {
		return err
	}
	for i := range words {
		if t.believe(func(word int) uint64 { return words[i][word] }) {
			return nil
		}
	}
	return errUnknown
}

// believe takes text and data from what looks like moduledata if all of it
// that is known besides is right.
func (t *goTable) believe(word func(int) uint64) bool {
	at := func(part uint64) uint64 { return t.addr + (part - t.base) }
	if word(0) != t.addr || word(wordNames) != at(t.names) || word(wordUnits) != at(t.units) ||
		word(wordFiles) != at(t.files) || word(wordValues) != at(t.values) {
		return false
	}
	text, first := word(wordText), word(wordMin)
	entry, err := t.f.u32(t.entries)
	if err != nil || !t.f.isCode(text) || text >= word(wordEndText) || first != text+uint64(entry) {
		return false
	}
	t.text = text
	if data := word(wordData); t.magic == magicGo120 {
		if _, ok := t.f.offset(data); ok && !t.f.isCode(data) {
			t.data = data
		}
	}
	return true
}
