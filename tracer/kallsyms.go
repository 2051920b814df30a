package tracer

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
)

const kallsymsPath = "/proc/kallsyms"

// symbols names addresses in the kernel's code. It reads /proc/kallsyms anew for
// what it has not met, 60 ms for 122,000 symbols, rather than keep megabytes of
// names; what it has met it remembers, also if it found nothing.
type symbols struct {
	path string
	met  map[uint64]symbol
}

// symbolsMax bounds what is remembered.
const symbolsMax = 1024

// symbol is a function and how far into it an address is; no name: not known.
type symbol struct {
	name   string
	offset uint64
}

func (s symbol) String() string {
	if s.name == "" {
		return ""
	}
	return fmt.Sprintf("%s+0x%x", s.name, s.offset)
}

func newSymbols(path string) *symbols { return &symbols{path: path, met: make(map[uint64]symbol)} }

// functionMax is how long a function can be: beyond it an address belongs to
// something that the table does not show.
const functionMax = 1 << 20

// lookup finds the symbols that the addresses are in. Those it cannot find, and
// all where the kernel hides addresses (kernel.kptr_restrict), have no name.
func (s *symbols) lookup(addrs ...uint64) []symbol {
	var fresh []uint64
	for _, addr := range addrs {
		if _, met := s.met[addr]; !met {
			fresh = append(fresh, addr)
		}
	}
	if len(s.met)+len(fresh) > symbolsMax {
		clear(s.met)
		fresh = addrs
	}
	if len(fresh) > 0 {
		for i, found := range s.read(fresh) {
			s.met[fresh[i]] = found
		}
	}
	out := make([]symbol, len(addrs))
	for i, addr := range addrs {
		out[i] = s.met[addr]
	}
	return out
}

func (s *symbols) read(addrs []uint64) []symbol {
	found := make([]symbol, len(addrs))
	names := make([][]byte, len(addrs))
	best := make([]uint64, len(addrs))
	f, err := os.Open(s.path)
	if err != nil {
		return found
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		at, name, ok := parseSymbol(lines.Bytes())
		if !ok {
			continue
		}
		for i, addr := range addrs {
			// A return address is behind its call, which may be a function's
			// last instruction. The first of several names is taken.
			if at != 0 && at < addr && at > best[i] {
				best[i], names[i] = at, append(names[i][:0], name...)
			}
		}
	}
	if lines.Err() != nil {
		return found
	}
	for i, addr := range addrs {
		if best[i] != 0 && addr-best[i] <= functionMax {
			found[i] = symbol{string(names[i]), addr - best[i]}
		}
	}
	return found
}

// parseSymbol takes a line such as "ffffffff81000000 T _stext" apart, code only.
func parseSymbol(line []byte) (at uint64, name []byte, ok bool) {
	const digits = 16
	if len(line) < digits+4 || line[digits] != ' ' {
		return 0, nil, false
	}
	switch line[digits+1] {
	case 't', 'T', 'w', 'W':
	default:
		return 0, nil, false
	}
	at, err := strconv.ParseUint(string(line[:digits]), 16, 64)
	if err != nil {
		return 0, nil, false
	}
	name, _, _ = bytes.Cut(line[digits+3:], []byte("\t"))
	return at, name, true
}
