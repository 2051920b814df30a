package stack

import (
	"container/list"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	// cacheBytes bounds what all files' functions take. One frame takes some
	// 200 bytes, a leak some ten frames.
	cacheBytes = 4 << 20
	// maxProcesses is how many processes' mappings are remembered, for stacks
	// that are asked for after the process has exited.
	maxProcesses = 256
	// slowFor is how long a file that was not read in time is left alone.
	slowFor = time.Minute
	// frameBytes is what a frame takes beside its texts, fileBytes a file.
	frameBytes, fileBytes = 120, 400
)

// file is what is known of one file's addresses.
type file struct {
	id identity
	// frames are by offset in the file. No frames: nothing is known, and
	// looking again would not help.
	frames map[uint64][]finding.Frame
	bytes  int
	// slow is until when nobody looks into it.
	slow time.Time
}

// cache remembers addresses by file, and forgets the files that were not asked for
// longest. It is not safe for use by several goroutines.
type cache struct {
	files map[identity]*list.Element
	// order begins with the file used last.
	order *list.List
	bytes int
	limit int
}

func newCache(limit int) *cache {
	return &cache{files: make(map[identity]*list.Element), order: list.New(), limit: limit}
}

// file returns what is known of a file, nil if nothing is.
func (c *cache) file(id identity) *file {
	e, ok := c.files[id]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*file)
}

// need returns an entry for a file, made if there is none.
func (c *cache) need(id identity) *file {
	if f := c.file(id); f != nil {
		return f
	}
	f := &file{id: id, frames: make(map[uint64][]finding.Frame), bytes: fileBytes}
	c.files[id] = c.order.PushFront(f)
	c.bytes += f.bytes
	return f
}

// add remembers the frames at an offset of a file.
func (c *cache) add(id identity, offset uint64, frames []finding.Frame) {
	f := c.need(id)
	if _, ok := f.frames[offset]; ok {
		return
	}
	n := frameBytes
	for i := range frames {
		n += frameBytes + len(frames[i].Function) + len(frames[i].File)
	}
	f.frames[offset] = frames
	f.bytes += n
	c.bytes += n
	c.shrink(f)
}

// shrink forgets files until the limit holds; if one alone is above it, that one
// begins anew.
func (c *cache) shrink(keep *file) {
	for c.bytes > c.limit {
		e := c.order.Back()
		f := e.Value.(*file)
		if f == keep {
			c.bytes -= f.bytes - fileBytes
			clear(f.frames)
			f.bytes = fileBytes
			return
		}
		c.order.Remove(e)
		delete(c.files, f.id)
		c.bytes -= f.bytes
	}
}
