package stack

import (
	"bytes"
	"compress/zlib"
	"context"
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// maxDWARF is how much of a file's DWARF is read, unpacked. It is all in
	// memory while one answer is made. What has more has no lines.
	maxDWARF = 32 << 20
	// maxEntries is how many entries of a unit are looked at for inlined
	// functions.
	maxEntries = 1 << 20
	// maxOrigins is how often an entry may point to another one for its name.
	maxOrigins = 4
)

var errNoLines = errors.New("no DWARF")

// units are sections of DWARF that lines and inlined functions take. All but
// the first three may be missing.
var units = []string{
	".debug_info", ".debug_abbrev", ".debug_line",
	".debug_str", ".debug_line_str", ".debug_ranges", ".debug_rnglists", ".debug_addr", ".debug_str_offsets",
}

// lines reads files and lines from DWARF.
type lines struct {
	data *dwarf.Data
}

// openLines reads a file's DWARF.
func openLines(f *image) (l *lines, err error) {
	// The reader is made for files that a compiler wrote.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading DWARF: %v", p)
		}
	}()
	parts := make(map[string][]byte, len(units))
	left := uint64(maxDWARF)
	for i, name := range units {
		s, ok := f.section(name)
		if !ok && i < 3 {
			return nil, errNoLines
		}
		if !ok {
			continue
		}
		b, err := unpacked(f, s, left)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		left -= uint64(len(b))
		parts[name] = b
	}
	data, err := dwarf.New(parts[".debug_abbrev"], nil, nil, parts[".debug_info"], parts[".debug_line"], nil, parts[".debug_ranges"], parts[".debug_str"])
	if err != nil {
		return nil, fmt.Errorf("reading DWARF: %w", err)
	}
	for _, name := range units[4:] {
		if b := parts[name]; b != nil && name != ".debug_ranges" {
			if err := data.AddSection(name, b); err != nil {
				return nil, fmt.Errorf("reading %s: %w", name, err)
			}
		}
	}
	return &lines{data}, nil
}

// unpacked reads a section, of limit bytes at most.
func unpacked(f *image, s section, limit uint64) ([]byte, error) {
	if s.size > limit {
		return nil, errTooLarge
	}
	b, err := f.bytes(s.offset, s.size)
	if err != nil || s.flags&shfCompressed == 0 {
		return b, err
	}
	// Elf64_Chdr: kind (1 is zlib), padding, size, alignment.
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 1 {
		return nil, errPacked
	}
	size := binary.LittleEndian.Uint64(b[8:])
	if size > limit {
		return nil, errTooLarge
	}
	r, err := zlib.NewReader(bytes.NewReader(b[24:]))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// As much is allocated as comes out, whatever the header says.
	return io.ReadAll(io.LimitReader(r, int64(size)))
}

// at returns the functions at an address, innermost first, nil if there are
// none. The last one is the function that has a symbol.
func (l *lines) at(ctx context.Context, addr uint64) (out []finding.Frame, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("reading DWARF: %v", p)
		}
	}()
	r := l.data.Reader()
	unit, err := r.SeekPC(addr)
	if err != nil {
		return nil, err
	}
	table, err := l.data.LineReader(unit)
	if err != nil {
		return nil, err
	}
	if table == nil {
		return nil, errNoLines
	}
	line, err := seekLine(ctx, table, addr)
	if err != nil {
		return nil, err
	}
	dir, _ := unit.Val(dwarf.AttrCompDir).(string)
	chain, err := l.chain(ctx, r, addr)
	if err != nil {
		return nil, err
	}
	at := finding.Frame{Line: max(line.Line, 0)}
	if line.File != nil && at.Line > 0 {
		at.File = absolute(dir, line.File.Name)
	}
	files := table.Files()
	for i := len(chain) - 1; i >= 0; i-- {
		at.Function = demangled(l.name(chain[i]))
		out = append(out, at)
		at = finding.Frame{}
		if n, _ := chain[i].Val(dwarf.AttrCallLine).(int64); n > 0 {
			if k, _ := chain[i].Val(dwarf.AttrCallFile).(int64); k >= 0 && k < int64(len(files)) && files[k] != nil {
				at.File, at.Line = absolute(dir, files[k].Name), int(n)
			}
		}
	}
	if len(chain) == 0 {
		out = append(out, at)
	}
	return out, nil
}

// absolute completes the name of a file; since DWARF 5 one may count from where
// the compiler ran.
func absolute(dir, name string) string {
	if dir == "" || path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

// seekLine finds the row of a line table that an address is in.
// LineReader.SeekPC does not: it gives up where the table begins with higher
// addresses, and GCC puts main into a section before the others.
func seekLine(ctx context.Context, table *dwarf.LineReader, addr uint64) (dwarf.LineEntry, error) {
	var last, next dwarf.LineEntry
	inside := false
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return last, ctx.Err()
		}
		if err := table.Next(&next); err != nil {
			return last, err
		}
		if inside && addr >= last.Address && addr < next.Address {
			return last, nil
		}
		last, inside = next, !next.EndSequence
	}
}

// chain returns the function that an address of the unit is in, and in it what
// was inlined there, outermost first.
func (l *lines) chain(ctx context.Context, r *dwarf.Reader, addr uint64) ([]*dwarf.Entry, error) {
	var out []*dwarf.Entry
	for n := range maxEntries {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e, err := r.Next()
		if err != nil {
			return nil, err
		}
		if e == nil || e.Tag == dwarf.TagCompileUnit {
			return out, nil
		}
		switch e.Tag {
		case 0:
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			if !l.covers(e, addr) {
				r.SkipChildren()
				continue
			}
			if e.Tag == dwarf.TagSubprogram {
				out = out[:0]
			}
			if out = append(out, e); len(out) > maxInlined {
				return nil, errTooLarge
			}
		case dwarf.TagNamespace, dwarf.TagLexDwarfBlock, dwarf.TagModule, dwarf.TagStructType, dwarf.TagClassType:
		default:
			r.SkipChildren()
		}
	}
	return nil, errTooLarge
}

func (l *lines) covers(e *dwarf.Entry, addr uint64) bool {
	ranges, err := l.data.Ranges(e)
	if err != nil {
		return false
	}
	for _, r := range ranges {
		if addr >= r[0] && addr < r[1] {
			return true
		}
	}
	return false
}

// name returns a function's name as the linker sees it, else as its programmer
// wrote it. An inlined function's is in another entry.
func (l *lines) name(e *dwarf.Entry) string {
	plain := ""
	for range maxOrigins {
		if s, ok := e.Val(dwarf.AttrLinkageName).(string); ok {
			return cut(s, maxName)
		}
		if s, ok := e.Val(dwarf.AttrName).(string); ok && plain == "" {
			plain = cut(s, maxName)
		}
		to, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if to, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				return plain
			}
		}
		r := l.data.Reader()
		r.Seek(to)
		next, err := r.Next()
		if err != nil || next == nil {
			return plain
		}
		e = next
	}
	return plain
}
