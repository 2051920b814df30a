package stack

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
)

// Values of ELF symbols (elf(5)).
const (
	symbolSize  = 24
	sttFunc     = 2
	sttGnuIfunc = 10
	stbLocal    = 0
	stbGlobal   = 1
)

// symbol is a function in a symbol table.
type symbol struct {
	start, size uint64
	// name is an offset in the table's strings, which begin at names.
	name, names uint64
	global      bool
}

// better reports whether s tells more of an address both are at: the inner one
// of two, and of several names for one function a global one.
func (s *symbol) better(than *symbol) bool {
	switch {
	case than == nil:
		return true
	case s.start != than.start:
		return s.start > than.start
	}
	return s.global && !than.global
}

// search collects what symbol tables say of some addresses. It keeps nothing of the tables:
// reading one again costs less than the memory that it would take.
type search struct {
	// addrs are ordered.
	addrs []uint64
	// within is the function an address is in; near the last one that begins
	// before it, which has it if it does not know its own size (assembler).
	within, near []*symbol
}

func newSearch(addrs []uint64) *search {
	s := &search{addrs: slices.Clone(addrs)}
	slices.Sort(s.addrs)
	s.addrs = slices.Compact(s.addrs)
	s.within, s.near = make([]*symbol, len(s.addrs)), make([]*symbol, len(s.addrs))
	return s
}

// symbols goes through the symbol tables of a file.
func (s *search) symbols(ctx context.Context, f *image) error {
	for _, table := range f.sections {
		if table.kind != shtSymtab && table.kind != shtDynsym {
			continue
		}
		if int(table.link) >= len(f.sections) || !f.holds(table.offset, table.size) {
			continue
		}
		names := f.sections[table.link]
		if !f.holds(names.offset, names.size) {
			continue
		}
		if err := scan(ctx, f, table.offset, table.size, func(_ uint64, b []byte) bool {
			s.note(b, &names)
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) note(b []byte, names *section) {
	for ; len(b) >= symbolSize; b = b[symbolSize:] {
		kind, defined := b[4]&0xf, binary.LittleEndian.Uint16(b[6:]) != 0
		if kind != sttFunc && kind != sttGnuIfunc || !defined {
			continue
		}
		sym := symbol{
			start: binary.LittleEndian.Uint64(b[8:]),
			size:  binary.LittleEndian.Uint64(b[16:]),
			name:  uint64(binary.LittleEndian.Uint32(b)),
			names: names.offset, global: b[4]>>4 == stbGlobal,
		}
		if sym.name >= names.size {
			continue
		}
		s.match(&sym)
	}
}

func (s *search) match(sym *symbol) {
	i, _ := slices.BinarySearch(s.addrs, sym.start)
	if i == len(s.addrs) {
		return
	}
	var kept *symbol
	keep := func(at **symbol) {
		if !sym.better(*at) {
			return
		}
		if kept == nil {
			// One copy for all, and none for most symbols.
			kept = new(symbol)
			*kept = *sym
		}
		*at = kept
	}
	keep(&s.near[i])
	for ; i < len(s.addrs) && s.addrs[i]-sym.start < sym.size; i++ {
		keep(&s.within[i])
	}
}

// at returns the function that an address is in, nil if none is known.
func (s *search) at(addr uint64) *symbol {
	i, ok := slices.BinarySearch(s.addrs, addr)
	if !ok {
		return nil
	}
	if s.within[i] != nil {
		return s.within[i]
	}
	var near *symbol
	for _, n := range s.near[:i+1] {
		if n != nil && n.better(near) {
			near = n
		}
	}
	// Too far: that is another section, and not its function.
	const far = 64 << 10
	if near == nil || near.size != 0 || addr-near.start > far {
		return nil
	}
	return near
}

// lookupSymbols names the functions at addresses, as far as the file's own
// tables do.
func lookupSymbols(ctx context.Context, f *image, addrs []uint64) (map[uint64]string, error) {
	s := newSearch(addrs)
	err := s.symbols(ctx, f)
	out := make(map[uint64]string, len(addrs))
	for _, addr := range s.addrs {
		sym := s.at(addr)
		if sym == nil {
			continue
		}
		name, readErr := f.text(sym.names+sym.name, maxName)
		if readErr != nil || name == "" {
			continue // longer than anybody would read
		}
		// "name@@VERSION" is how linkers write a symbol's version.
		name, _, _ = strings.Cut(name, "@")
		out[addr] = demangled(name)
	}
	return out, err
}
