package stack

import "encoding/binary"

// cursor reads numbers from bytes. Behind the end all are zero, and failed is
// set.
type cursor struct {
	b      []byte
	at     int
	failed bool
}

// next returns the next n bytes, nil behind the end.
func (c *cursor) next(n uint64) []byte {
	if c.failed || n > uint64(len(c.b)-c.at) {
		c.failed = true
		return nil
	}
	b := c.b[c.at : c.at+int(n)]
	c.at += int(n)
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.next(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.next(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.next(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uleb reads a number of seven bits a byte; what is above 64 bits is lost.
func (c *cursor) uleb() uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := c.u8()
		if shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b < 0x80 {
			return v
		}
	}
}

// sleb is uleb with a sign.
func (c *cursor) sleb() int64 {
	var v int64
	for shift := 0; ; {
		b := c.u8()
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		shift += 7
		if b < 0x80 {
			if b&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v
		}
	}
}

// text skips a string that ends in a zero and returns where it began.
func (c *cursor) text() (at int) {
	at = c.at
	for c.u8() != 0 && !c.failed {
	}
	return at
}
