package stack

import (
	"bytes"
	"context"

	"golang.org/x/sys/unix"
)

// maxNames is how much of a Go program's table of names is searched; the largest
// programs have some 20 MB.
const maxNames = 64 << 20

// GoProgram reports whether a file is a program that Go's linker made, and whether a
// function is linked into it.
func GoProgram(ctx context.Context, path, function string) (isGo, has bool) {
	f, id, err := openRegular(unix.AT_FDCWD, path, 0)
	if err != nil {
		return false, false
	}
	defer f.Close()
	image, err := readImage(f, id.size)
	if err != nil {
		return false, false
	}
	at, size, err := findTable(ctx, image)
	if err != nil {
		return false, false
	}
	t := &goTable{f: image, base: at, size: size}
	if err := t.readHeader(); err != nil {
		return false, false
	}
	return true, t.hasName(ctx, function)
}

// hasName searches the table of names, where each ends in a zero.
func (t *goTable) hasName(ctx context.Context, function string) bool {
	end := t.base + t.size
	if t.units > t.names {
		end = min(end, t.units)
	}
	if t.names >= end || len(function) >= maxName {
		return false
	}
	name := []byte("\x00" + function + "\x00")
	found := false
	var last []byte
	_ = scan(ctx, t.f, t.names, min(end-t.names, maxNames), func(_ uint64, b []byte) bool {
		// A name may begin in one piece and end in the next.
		edge := append(last, b[:min(len(b), len(name))]...)
		found = bytes.Contains(b, name) || bytes.Contains(edge, name)
		last = bytes.Clone(b[len(b)-min(len(b), len(name)):])
		return !found
	})
	return found
}
