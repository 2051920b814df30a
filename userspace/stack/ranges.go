package stack

// Kinds of entries in .debug_rnglists (DWARF 5, section 7.25).
const (
	rleEnd          = 0
	rleBaseAddressx = 1
	rleStartxEndx   = 2
	rleStartxLength = 3
	rleOffsetPair   = 4
	rleBaseAddress  = 5
	rleStartEnd     = 6
	rleStartLength  = 7
)

// inRanges reports whether a list of ranges includes an address.
func (d *debugData) inRanges(u *dwarfUnit, list value, addr uint64) bool {
	base := uint64(0)
	if u.root.low.form != 0 {
		base, _ = d.address(u, u.root.low)
	}
	if u.version < 5 {
		return inList(d.ranges, list.n, func(c *cursor) bool { return inOldRanges(c, base, addr) })
	}
	at := list.n
	if list.form == formRnglistx {
		if list.n > d.rngLists.size/4 {
			return false
		}
		off, err := d.rngLists.u32(u.rangeBase + 4*list.n)
		if err != nil {
			return false
		}
		at = u.rangeBase + uint64(off)
	}
	return inList(d.rngLists, at, func(c *cursor) bool { return d.inRangeList(c, u, base, addr) })
}

// inList gives a list to fn, more of it if it does not end in what fn was given.
// Most lists are short.
func inList(part *image, at uint64, fn func(*cursor) bool) bool {
	for size := uint64(512); at < part.size && size <= maxRangeBytes; size *= 8 {
		b, err := part.bytes(at, min(size, part.size-at))
		if err != nil {
			return false
		}
		c := cursor{b: b}
		if fn(&c) {
			return true
		}
		if !c.failed {
			return false
		}
	}
	return false
}

// inOldRanges reads .debug_ranges: pairs of differences from a base.
func inOldRanges(c *cursor, base, addr uint64) bool {
	for {
		from, to := c.u64(), c.u64()
		switch {
		case c.failed || from == 0 && to == 0:
			return false
		case from == ^uint64(0):
			base = to
		case addr >= base+from && addr < base+to:
			return true
		}
	}
}

func (d *debugData) inRangeList(c *cursor, u *dwarfUnit, base, addr uint64) bool {
	for !c.failed {
		var from, to uint64
		kind, ok := c.u8(), true
		switch kind {
		case rleEnd:
			return false
		case rleBaseAddressx:
			base, ok = d.indexed(u, c.uleb())
		case rleBaseAddress:
			base = c.u64()
		case rleStartxEndx:
			var also bool
			from, ok = d.indexed(u, c.uleb())
			to, also = d.indexed(u, c.uleb())
			ok = ok && also
		case rleStartxLength:
			from, ok = d.indexed(u, c.uleb())
			to = from + c.uleb()
		case rleOffsetPair:
			from, to = base+c.uleb(), base+c.uleb()
		case rleStartEnd:
			from, to = c.u64(), c.u64()
		case rleStartLength:
			from = c.u64()
			to = from + c.uleb()
		default:
			return false
		}
		if !ok {
			return false
		}
		if !c.failed && addr >= from && addr < to {
			return true
		}
	}
	return false
}
