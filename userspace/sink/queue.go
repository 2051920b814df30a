package sink

import "slices"

// fifo is a queue of records. Records lie one after the other in chunks, so
// that a full queue is a few large allocations and an empty one holds none.
type fifo struct {
	chunks  []*chunk
	bytes   int
	records int
	// followers are what follows the records that were taken last.
	followers []func()
	// spare is an empty chunk: a steady stream then needs no new ones.
	spare *chunk
}

type chunk struct {
	buf []byte
	// ends are the offsets in buf where records end; next is the index of
	// the first record that is still queued and start where it begins.
	ends        []int32
	next, start int
	// marks are of the records with something particular; idle is how many of
	// those say nothing that a later one will not say.
	marks []mark
	idle  int
}

// mark is what is particular about the record with an index in ends.
type mark struct {
	index int
	idle  bool
	then  func() // nil for nothing
}

const chunkSize = 64 << 10

// pushMarked is push of a record that may be idle, and that something may follow.
func (q *fifo) pushMarked(record []byte, idle bool, then func()) {
	q.push(record)
	if idle || then != nil {
		q.last().mark(idle, then)
	}
}

// mark marks a chunk's last record.
func (c *chunk) mark(idle bool, then func()) {
	c.marks = append(c.marks, mark{len(c.ends) - 1, idle, then})
	if idle {
		c.idle++
	}
}

// push appends a copy of a record.
func (q *fifo) push(record []byte) {
	c := q.last()
	if c == nil || len(c.buf)+len(record) > cap(c.buf) {
		c = q.grow(len(record))
	}
	c.buf = append(c.buf, record...)
	c.ends = append(c.ends, int32(len(c.buf)))
	q.bytes += len(record)
	q.records++
}

// grow appends a chunk that holds at least size bytes.
func (q *fifo) grow(size int) *chunk {
	c := q.spare
	if c == nil || size > chunkSize {
		c = &chunk{buf: make([]byte, 0, max(chunkSize, size))}
	} else {
		q.spare = nil
	}
	q.chunks = append(q.chunks, c)
	return c
}

// retire keeps an empty chunk for later, one at most and none of unusual size.
func (q *fifo) retire(c *chunk) {
	if cap(c.buf) == chunkSize {
		clear(c.marks) // what follows may hold much
		*c = chunk{buf: c.buf[:0], ends: c.ends[:0], marks: c.marks[:0]}
		q.spare = c
	}
}

func (q *fifo) last() *chunk {
	if len(q.chunks) == 0 {
		return nil
	}
	return q.chunks[len(q.chunks)-1]
}

// take moves the oldest records to dst: one, and more as long as dst grows by
// at most limit bytes and the records lie in the same chunk. It returns dst
// and the number of records.
func (q *fifo) take(dst []byte, limit int) ([]byte, int) {
	if len(q.chunks) == 0 {
		return dst, 0
	}
	c := q.chunks[0]
	first, from := c.next, c.start
	for c.next < len(c.ends) {
		end := int(c.ends[c.next])
		if c.next > first && end-from > limit {
			break
		}
		c.next, c.start = c.next+1, end
	}
	dst = append(dst, c.buf[from:c.start]...)
	q.bytes -= c.start - from
	q.records -= c.next - first
	taken := c.next - first
	q.followers = c.unmark(q.followers[:0])
	if c.next == len(c.ends) {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		q.retire(c)
	}
	return dst, taken
}

// unmark removes the marks of records that were taken, and appends what follows them.
func (c *chunk) unmark(followers []func()) []func() {
	n := 0
	for ; n < len(c.marks) && c.marks[n].index < c.next; n++ {
		if c.marks[n].then != nil {
			followers = append(followers, c.marks[n].then)
		}
		if c.marks[n].idle {
			c.idle--
		}
	}
	c.marks = slices.Delete(c.marks, 0, n)
	return followers
}

// dropIdle removes the idle records of the oldest chunk that has any, and returns how
// many; 0 if none is left.
func (q *fifo) dropIdle() int {
	at := slices.IndexFunc(q.chunks, func(c *chunk) bool { return c.idle > 0 })
	if at < 0 {
		return 0
	}
	c := q.chunks[at]
	rest := c.without()
	dropped := len(c.ends) - c.next - len(rest.ends)
	q.records -= dropped
	q.bytes -= len(c.buf) - c.start - len(rest.buf)
	if q.chunks[at] = rest; len(rest.ends) == 0 {
		q.chunks = slices.Delete(q.chunks, at, at+1)
	}
	return dropped
}

// without returns a copy of a chunk that lacks the idle records, and has no room for
// others: what is freed is free.
func (c *chunk) without() *chunk {
	size := 0
	keep := func(fn func(record []byte, m mark)) {
		marks, begin := c.marks, c.start
		for i := c.next; i < len(c.ends); i++ {
			record, m := c.buf[begin:c.ends[i]], mark{}
			begin = int(c.ends[i])
			if len(marks) > 0 && marks[0].index == i {
				m, marks = marks[0], marks[1:]
			}
			if !m.idle {
				fn(record, m)
			}
		}
	}
	keep(func(record []byte, _ mark) { size += len(record) })
	rest := &chunk{buf: make([]byte, 0, size)}
	keep(func(record []byte, m mark) {
		rest.buf = append(rest.buf, record...)
		rest.ends = append(rest.ends, int32(len(rest.buf)))
		if m.then != nil {
			rest.mark(false, m.then)
		}
	})
	return rest
}

// dropNewest removes the record that was pushed last.
func (q *fifo) dropNewest() {
	c := q.last()
	begin := c.start
	if n := len(c.ends); n-1 > c.next {
		begin = int(c.ends[n-2])
	}
	q.bytes -= len(c.buf) - begin
	q.records--
	c.buf, c.ends = c.buf[:begin], c.ends[:len(c.ends)-1]
	if n := len(c.marks) - 1; n >= 0 && c.marks[n].index == len(c.ends) {
		if c.marks[n].idle {
			c.idle--
		}
		c.marks = c.marks[:n]
	}
	if c.next == len(c.ends) {
		q.chunks = q.chunks[:len(q.chunks)-1]
		q.retire(c)
	}
}
