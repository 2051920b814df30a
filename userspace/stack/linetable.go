package stack

import "context"

// Opcodes of line tables (DWARF 5, section 7.22).
const (
	lnsCopy           = 1
	lnsAdvancePC      = 2
	lnsAdvanceLine    = 3
	lnsSetFile        = 4
	lnsConstAddPC     = 8
	lnsFixedAdvancePC = 9
	lneEndSequence    = 1
	lneSetAddress     = 2
	lnctPath          = 1
	lnctDirectory     = 2
)

const (
	// maxLineUnit is how large the line table of one unit may be.
	maxLineUnit = 16 << 20
	// maxFormats is how many properties a file has in a line table; there are five.
	maxFormats = 16
)

// lineTable is the line table of one unit.
type lineTable struct {
	d       *debugData
	u       *dwarfUnit
	version uint16
	// files is where the lists of folders and files begin, program where the
	// rows do.
	files, program cursor
	minLength      uint64
	lineBase       int64
	lineRange      uint64
	opcodes        uint8
	lengths        []byte
}

// lines opens a unit's line table.
func (d *debugData) lines(u *dwarfUnit) (*lineTable, error) {
	at := u.root.lines.n
	if u.root.lines.form == 0 || at >= d.line.size {
		return nil, errNoLines
	}
	size, err := d.line.u32(at)
	if err != nil {
		return nil, err
	}
	if size > maxLineUnit {
		return nil, errTooLarge
	}
	b, err := d.line.bytes(at+4, uint64(size))
	if err != nil {
		return nil, err
	}
	t := &lineTable{d: d, u: u}
	return t, t.readHeader(b)
}

func (t *lineTable) readHeader(b []byte) error {
	c := cursor{b: b}
	t.version = c.u16()
	if t.version < 2 || t.version > 5 {
		return errBroken
	}
	if t.version == 5 && (c.u8() != 8 || c.u8() != 0) {
		return errBroken
	}
	program := uint64(c.u32())
	program += uint64(c.at)
	t.minLength = uint64(c.u8())
	// More than one operation an instruction is for VLIW machines.
	if t.version >= 4 && c.u8() != 1 {
		return errBroken
	}
	c.u8()
	t.lineBase, t.lineRange = int64(int8(c.u8())), uint64(c.u8())
	t.opcodes = c.u8()
	if t.lineRange == 0 || t.opcodes == 0 || program > uint64(len(b)) {
		return errBroken
	}
	if t.lengths = c.next(uint64(t.opcodes) - 1); c.failed {
		return errBroken
	}
	t.files = cursor{b: b[:program], at: c.at}
	t.program = cursor{b: b, at: int(program)}
	return nil
}

// row is a row of the table.
type row struct {
	addr, file uint64
	line       int64
}

// seek finds the row that an address is in.
func (t *lineTable) seek(ctx context.Context, addr uint64) (row, error) {
	c := t.program
	start := row{file: 1, line: 1}
	now, last := start, row{}
	inside := false
	for n := 0; c.at < len(c.b) && !c.failed; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return row{}, ctx.Err()
		}
		emits, ends := t.step(&c, &now)
		if !emits {
			continue
		}
		if inside && addr >= last.addr && addr < now.addr {
			return last, nil
		}
		last, inside = now, true
		if ends {
			now, inside = start, false
		}
	}
	return row{}, errUnknown
}

// step runs one opcode; emits is true where it makes a row, ends where that is
// the end of a run of addresses.
func (t *lineTable) step(c *cursor, now *row) (emits, ends bool) {
	op := c.u8()
	if op >= t.opcodes {
		n := uint64(op - t.opcodes)
		now.addr += n / t.lineRange * t.minLength
		now.line += t.lineBase + int64(n%t.lineRange)
		return true, false
	}
	switch op {
	case 0:
		return t.extended(c, now)
	case lnsCopy:
		return true, false
	case lnsAdvancePC:
		now.addr += c.uleb() * t.minLength
	case lnsAdvanceLine:
		now.line += c.sleb()
	case lnsSetFile:
		now.file = c.uleb()
	case lnsConstAddPC:
		now.addr += uint64(255-t.opcodes) / t.lineRange * t.minLength
	case lnsFixedAdvancePC:
		now.addr += uint64(c.u16())
	default:
		for range t.lengths[op-1] {
			c.uleb()
		}
	}
	return false, false
}

func (t *lineTable) extended(c *cursor, now *row) (emits, ends bool) {
	b := c.next(c.uleb())
	if len(b) == 0 {
		return false, false
	}
	arg := cursor{b: b, at: 1}
	switch b[0] {
	case lneEndSequence:
		return true, true
	case lneSetAddress:
		now.addr = arg.u64()
		c.failed = c.failed || arg.failed
	}
	return false, false
}
