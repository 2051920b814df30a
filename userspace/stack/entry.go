package stack

// Attributes and forms that are read (DWARF 5, sections 7.5.4 and 7.5.6).
const (
	attrSibling        = 0x01
	attrName           = 0x03
	attrStmtList       = 0x10
	attrLowPC          = 0x11
	attrHighPC         = 0x12
	attrCompDir        = 0x1b
	attrAbstractOrigin = 0x31
	attrSpecification  = 0x47
	attrRanges         = 0x55
	attrCallFile       = 0x58
	attrCallLine       = 0x59
	attrLinkageName    = 0x6e
	attrStrOffsetsBase = 0x72
	attrAddrBase       = 0x73
	attrRnglistsBase   = 0x74
	attrMIPSLinkage    = 0x2007

	formAddr          = 0x01
	formBlock2        = 0x03
	formBlock4        = 0x04
	formData2         = 0x05
	formData4         = 0x06
	formData8         = 0x07
	formString        = 0x08
	formBlock         = 0x09
	formBlock1        = 0x0a
	formData1         = 0x0b
	formFlag          = 0x0c
	formSdata         = 0x0d
	formStrp          = 0x0e
	formUdata         = 0x0f
	formRefAddr       = 0x10
	formRef1          = 0x11
	formRef2          = 0x12
	formRef4          = 0x13
	formRef8          = 0x14
	formRefUdata      = 0x15
	formSecOffset     = 0x17
	formExprloc       = 0x18
	formFlagPresent   = 0x19
	formStrx          = 0x1a
	formAddrx         = 0x1b
	formRefSup4       = 0x1c
	formStrpSup       = 0x1d
	formData16        = 0x1e
	formLineStrp      = 0x1f
	formRefSig8       = 0x20
	formImplicitConst = 0x21
	formLoclistx      = 0x22
	formRnglistx      = 0x23
	formRefSup8       = 0x24
	formStrx1         = 0x25
	formStrx2         = 0x26
	formStrx3         = 0x27
	formStrx4         = 0x28
	formAddrx1        = 0x29
	formAddrx2        = 0x2a
	formAddrx3        = 0x2b
	formAddrx4        = 0x2c
	// What dwz makes of references into another file.
	formGNURefAlt  = 0x1f20
	formGNUStrpAlt = 0x1f21
)

// value is what an attribute says: a number, an offset or an index, by its
// form. Form 0 means that there is no such attribute.
type value struct {
	form uint16
	n    uint64
}

func (v value) isAddress() bool {
	switch v.form {
	case formAddr, formAddrx, formAddrx1, formAddrx2, formAddrx3, formAddrx4:
		return true
	}
	return false
}

// dwarfEntry is an entry of DWARF, as far as lines take it.
type dwarfEntry struct {
	tag      uint16
	children bool
	// sibling is where the next entry of the same level begins, 0 if that is not told.
	sibling                          uint64
	name, linkage, low, high, ranges value
	origin, dir                      value
	lines                            value
	callFile, callLine               uint64
	strBase, addrBase, rangeBase     uint64
}

// shape is an entry in .debug_abbrev: which attributes, in which form.
type shape struct {
	tag        uint16
	children   bool
	attributes []attribute
}

type attribute struct {
	name, form uint16
	// constant is the value itself in one form.
	constant int64
}

// readShape reads one shape, 0 as its code at the end of a table.
func readShape(c *cursor) (uint64, shape) {
	code := c.uleb()
	if code == 0 {
		return 0, shape{}
	}
	s := shape{tag: uint16(min(c.uleb(), 0xffff)), children: c.u8() != 0}
	for !c.failed {
		name, form := c.uleb(), c.uleb()
		if name == 0 && form == 0 {
			break
		}
		a := attribute{name: uint16(min(name, 0xffff)), form: uint16(min(form, 0xffff))}
		if form == formImplicitConst {
			a.constant = c.sleb()
		}
		if s.attributes = append(s.attributes, a); len(s.attributes) > maxAttributes {
			c.failed = true
		}
	}
	return code, s
}

// abbrevs reads the shapes of a unit.
func (d *debugData) abbrevsAt(at uint64) (map[uint64]shape, error) {
	if at >= d.abbrev.size {
		return nil, errBroken
	}
	// 64 KB hold some 5,000 shapes; the table's end is not known before.
	for size := uint64(64 << 10); ; size *= 8 {
		b, err := d.abbrev.bytes(at, min(size, d.abbrev.size-at))
		if err != nil {
			return nil, err
		}
		out := make(map[uint64]shape)
		c := cursor{b: b}
		for len(out) < maxAbbrevs {
			code, s := readShape(&c)
			if c.failed {
				break
			}
			if code == 0 {
				return out, nil
			}
			out[code] = s
		}
		if size >= 4<<20 || uint64(len(b)) == d.abbrev.size-at {
			return nil, errBroken
		}
	}
}

// abbrev1 reads the shape of a unit's root, which compilers write first.
func (d *debugData) abbrev1(at, code uint64) (shape, error) {
	if at >= d.abbrev.size {
		return shape{}, errBroken
	}
	b, err := d.abbrev.bytes(at, min(512, d.abbrev.size-at))
	if err != nil {
		return shape{}, err
	}
	c := cursor{b: b}
	for !c.failed {
		is, s := readShape(&c)
		if is == 0 {
			break
		}
		if is == code && !c.failed {
			return s, nil
		}
	}
	all, err := d.abbrevsAt(at)
	if s, ok := all[code]; ok {
		return s, nil
	}
	if err == nil {
		err = errBroken
	}
	return shape{}, err
}

// entry reads an entry of a known shape. Base is the offset of the cursor's
// first byte in .debug_info.
func (c *cursor) entry(u *dwarfUnit, base uint64, s shape) dwarfEntry {
	e := dwarfEntry{tag: s.tag, children: s.children}
	for _, a := range s.attributes {
		v := c.value(a, u, base)
		if c.failed {
			break
		}
		e.set(a.name, v)
	}
	return e
}

func (e *dwarfEntry) set(name uint16, v value) {
	switch name {
	case attrSibling:
		e.sibling = v.n
	case attrName:
		e.name = v
	case attrLinkageName, attrMIPSLinkage:
		e.linkage = v
	case attrLowPC:
		e.low = v
	case attrHighPC:
		e.high = v
	case attrRanges:
		e.ranges = v
	case attrAbstractOrigin, attrSpecification:
		e.origin = v
	case attrCallFile:
		e.callFile = v.n
	case attrCallLine:
		e.callLine = v.n
	case attrStmtList:
		e.lines = v
	case attrCompDir:
		e.dir = v
	case attrStrOffsetsBase:
		e.strBase = v.n
	case attrAddrBase:
		e.addrBase = v.n
	case attrRnglistsBase:
		e.rangeBase = v.n
	}
}
