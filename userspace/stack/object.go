package stack

import (
	"context"
	"errors"
	"io"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// object is an executable or a shared library.
type object struct {
	// root is the root directory of the process, path where the file is in it.
	root, path string
	// roots are other ones that debug files may be in.
	roots []string
	r     io.ReaderAt
	size  int64
}

// frames returns what is known of offsets in the file. An offset that nothing
// is known of gets a frame without a function; one that ctx left no time for is
// not in the answer, and then there is an error.
func (o *object) frames(ctx context.Context, offsets []uint64) (map[uint64][]finding.Frame, error) {
	out := make(map[uint64][]finding.Frame, len(offsets))
	module := moduleName(o.path)
	f, err := readImage(o.r, o.size)
	if err != nil {
		for _, off := range offsets {
			out[off] = o.finish(module, off, nil)
		}
		return out, nil
	}
	addrs := make([]uint64, 0, len(offsets))
	at := make(map[uint64]uint64, len(offsets))
	for _, off := range offsets {
		if addr, ok := f.address(off); ok {
			at[off] = addr
			addrs = append(addrs, addr)
		}
	}
	known, err := o.functions(ctx, f, addrs)
	for _, off := range offsets {
		addr, ok := at[off]
		list := known[addr]
		if !ok {
			addr = off
		}
		if list == nil && err != nil && ctx.Err() != nil {
			continue
		}
		out[off] = o.finish(module, addr, list)
	}
	return out, err
}

// functions returns what is known of addresses: by Go's table first, which has
// inlined functions and lines, then by symbols.
func (o *object) functions(ctx context.Context, f *image, addrs []uint64) (map[uint64][]finding.Frame, error) {
	out := make(map[uint64][]finding.Frame, len(addrs))
	left := addrs
	t, err := openGo(ctx, f)
	if err == nil {
		left = nil
		for _, addr := range addrs {
			// Code in C of the same program is not in the table.
			if list, err := t.lookup(addr); err == nil {
				out[addr] = list
			} else {
				left = append(left, addr)
			}
		}
	}
	if ctx.Err() != nil || len(left) == 0 {
		return out, ctx.Err()
	}
	return out, errors.Join(o.native(ctx, f, left, out), ctx.Err())
}

// finish completes frames with what all of a file have in common.
func (o *object) finish(module string, addr uint64, list []finding.Frame) []finding.Frame {
	if len(list) == 0 {
		list = []finding.Frame{{}}
	}
	for i := range list {
		f := &list[i]
		f.Function, f.File = cut(f.Function, maxFunction), cut(f.File, maxFunction)
		f.Module, f.Offset = module, addr
		f.Plumbing = isPlumbing(f)
	}
	return list
}

// native names functions by the file's own symbols.
func (o *object) native(ctx context.Context, f *image, addrs []uint64, out map[uint64][]finding.Frame) error {
	names, err := lookupSymbols(ctx, f, addrs)
	for addr, fn := range names {
		out[addr] = []finding.Frame{{Function: fn.name}}
	}
	return err
}
