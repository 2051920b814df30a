package stack

import "slices"

// value reads an attribute. References come out as offsets in .debug_info, and
// so do strings that stand in it.
func (c *cursor) value(a attribute, u *dwarfUnit, base uint64) value {
	v := value{form: a.form}
	switch a.form {
	case formAddr, formData8:
		v.n = c.u64()
	case formRef8:
		v.n = u.start + c.u64()
	case formRef1:
		v.n = u.start + uint64(c.u8())
	case formRef2:
		v.n = u.start + uint64(c.u16())
	case formRef4:
		v.n = u.start + uint64(c.u32())
	case formRefUdata:
		v.n = u.start + c.uleb()
	case formData1, formFlag, formStrx1, formAddrx1:
		v.n = uint64(c.u8())
	case formData2, formStrx2, formAddrx2:
		v.n = uint64(c.u16())
	case formStrx3, formAddrx3:
		if b := c.next(3); b != nil {
			v.n = uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
		}
	case formData4, formStrp, formSecOffset, formLineStrp, formStrx4, formAddrx4:
		v.n = uint64(c.u32())
	case formRefAddr:
		// As wide as an address in DWARF 2.
		if u.version == 2 {
			v.n = c.u64()
		} else {
			v.n = uint64(c.u32())
		}
	case formUdata, formStrx, formAddrx, formRnglistx, formLoclistx:
		v.n = c.uleb()
	case formSdata:
		v.n = uint64(c.sleb())
	case formImplicitConst:
		v.n = uint64(a.constant)
	case formFlagPresent:
		v.n = 1
	case formString:
		v.n = base + uint64(c.text())
	default:
		c.skip(a.form)
		v.form = 0
	}
	return v
}

// skip reads over what is of no use here.
func (c *cursor) skip(form uint16) {
	switch form {
	case formBlock1:
		c.next(uint64(c.u8()))
	case formBlock2:
		c.next(uint64(c.u16()))
	case formBlock4:
		c.next(uint64(c.u32()))
	case formBlock, formExprloc:
		c.next(c.uleb())
	case formRefSup4, formStrpSup, formGNURefAlt, formGNUStrpAlt:
		c.next(4)
	case formRefSig8, formRefSup8:
		c.next(8)
	case formData16:
		c.next(16)
	default:
		c.failed = true
	}
}

// holdsEntries tells entries that functions may stand in.
func holdsEntries(tag uint16) bool {
	return slices.Contains([]uint16{tagUnit, tagNamespace, tagModule, tagClass, tagStruct, tagLexical}, tag)
}
