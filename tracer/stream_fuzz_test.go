package tracer

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// FuzzHolderStream: however the iterator's output is cut into reads, each whole
// record comes out once, and an end within one is an error.
func FuzzHolderStream(f *testing.F) {
	for _, b := range samples(holderSize) {
		f.Add(b)
		f.Add(append(append([]byte{}, b...), b[:holderSize/2]...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := &Tracer{decode: newDecoder(testHZ)}
		var whole, halves, single []flow.Held
		err := tr.readHolders(bytes.NewReader(b), func(h *flow.Held) { whole = append(whole, *h) })
		if cut := len(b)%holderSize != 0; cut != (err != nil) {
			t.Fatalf("%d bytes, records of %d: error %v", len(b), holderSize, err)
		}
		if len(whole) != len(b)/holderSize {
			t.Fatalf("%d records out of %d bytes", len(whole), len(b))
		}
		_ = tr.readHolders(iotest.HalfReader(bytes.NewReader(b)), func(h *flow.Held) { halves = append(halves, *h) })
		_ = tr.readHolders(iotest.OneByteReader(bytes.NewReader(b)), func(h *flow.Held) { single = append(single, *h) })
		for i := range whole {
			if whole[i] != halves[i] || whole[i] != single[i] {
				t.Fatalf("record %d depends on how it was read", i)
			}
		}
	})
}

// FuzzSymbols: whatever /proc/kallsyms (or what a container mounted there) holds,
// a name that is found stands in it, at most functionMax before the address.
func FuzzSymbols(f *testing.F) {
	f.Add([]byte(table), uint64(0xffffffff81a000a2))
	f.Add([]byte("0000000000000000 T _stext\n"), uint64(1))
	f.Add([]byte("ffffffff81000000 T \x1b[31m\t[mod]\nffffffff81000001 t"), uint64(0xffffffff81000002))
	f.Add([]byte(strings.Repeat("f", 70_000)), ^uint64(0))
	f.Fuzz(func(t *testing.T, text []byte, addr uint64) {
		found := newSymbols(tableFile(t, string(text))).lookup(addr, addr)
		if found[0] != found[1] {
			t.Fatalf("one address, two names: %v", found)
		}
		s := found[0]
		if s.name == "" {
			return
		}
		if s.offset == 0 || s.offset > functionMax || !bytes.Contains(text, []byte(s.name)) {
			t.Errorf("%q+%#x out of %q", s.name, s.offset, text)
		}
	})
}
