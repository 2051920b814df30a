package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

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

// carefully is frames for files of others: a mistake in it must cost a name, not
// the daemon.
func (o *object) carefully(ctx context.Context, offsets []uint64) (out map[uint64][]finding.Frame, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("reading %s: %v", moduleName(o.path), p)
		}
	}()
	return o.frames(ctx, offsets)
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
		f.Plumbing = Plumbing(f)
	}
	return list
}

// native finds functions by symbols and lines by DWARF: the file's own, those
// packed into it, and those in a separate file.
func (o *object) native(ctx context.Context, f *image, addrs []uint64, out map[uint64][]finding.Frame) error {
	names, err := lookupSymbols(ctx, f, addrs)
	if missing := unnamed(addrs, names); len(missing) > 0 && err == nil {
		if mini, miniErr := miniDebug(f); miniErr == nil {
			var more map[uint64]string
			more, err = lookupSymbols(ctx, mini, missing)
			maps.Copy(names, more)
		}
	}
	defer func() {
		for addr, name := range names {
			if out[addr] == nil {
				out[addr] = []finding.Frame{{Function: name}}
			}
		}
	}()
	// Nobody needs the lines of the C library.
	if err != nil || isLibrary(moduleName(o.path)) {
		return err
	}
	if _, ok := f.section(".debug_info"); ok {
		return o.withLines(ctx, f, addrs, names, out)
	}
	file, debug, err := o.separate(ctx, f)
	if err != nil {
		return nil
	}
	defer file.Close()
	if missing := unnamed(addrs, names); len(missing) > 0 {
		more, err := lookupSymbols(ctx, debug, missing)
		maps.Copy(names, more)
		if err != nil {
			return err
		}
	}
	return o.withLines(ctx, debug, addrs, names, out)
}

// unnamed returns the addresses that have no name yet.
func unnamed(addrs []uint64, names map[uint64]string) []uint64 {
	var out []uint64
	for _, addr := range addrs {
		if _, ok := names[addr]; !ok {
			out = append(out, addr)
		}
	}
	return out
}

// withLines adds what DWARF knows; without it the names stand alone.
func (o *object) withLines(ctx context.Context, f *image, addrs []uint64, names map[uint64]string, out map[uint64][]finding.Frame) error {
	d, err := openDWARF(f)
	if err != nil {
		return nil
	}
	for _, addr := range addrs {
		list, err := d.at(ctx, addr)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || len(list) == 0 {
			continue
		}
		// The symbol names the function; DWARF may know it by a shorter name.
		if last := &list[len(list)-1]; names[addr] != "" {
			last.Function = names[addr]
		}
		if list[0].Function != "" {
			out[addr] = list
		}
	}
	return nil
}
