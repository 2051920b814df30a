package sink

// fifo is a queue of records. Records lie one after the other in chunks, so
// that a full queue is a few large allocations and an empty one holds none.
type fifo struct {
	chunks  []*chunk
	bytes   int
	records int
	// spare is an empty chunk: a steady stream then needs no new ones.
	spare *chunk
}

type chunk struct {
	buf []byte
	// ends are the offsets in buf where records end; next is the index of
	// the first record that is still queued and start where it begins.
	ends        []int32
	next, start int
}

const chunkSize = 64 << 10

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
		*c = chunk{buf: c.buf[:0], ends: c.ends[:0]}
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
	if c.next == len(c.ends) {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		q.retire(c)
	}
	return dst, taken
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
	if c.next == len(c.ends) {
		q.chunks = q.chunks[:len(q.chunks)-1]
		q.retire(c)
	}
}
