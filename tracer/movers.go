package tracer

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	moverWays    = len(limboMoverRow{}.Ways)
	moverRowSize = int(unsafe.Sizeof(limboMoverRow{}))
	moverSize    = moverRowSize / moverWays
	glanceSize   = int(unsafe.Sizeof(limboGlance{}))
	// moverRows times moverWays is for how many sockets there is room: 1 MiB.
	moverRows = 8192
)

// moverSide keeps the sockets that are set aside.
type moverSide struct {
	rows, glances *ebpf.Memory
	row           [moverRowSize]byte
	buf           []byte
	mask, count   uint32
	sock          flow.Sock
}

// watchMovers makes room for them, if ESTABLISHED sockets are looked at at all.
func (o *Options) watchMovers(spec *ebpf.CollectionSpec) (mask uint32) {
	rows := uint32(moverRows)
	if !o.Established || o.Trace != nil || o.ReadOnly {
		rows = 1
		leaveOut(spec, "limbo_glance")
		spec.Maps["glances"].MaxEntries = 1
	}
	spec.Maps["movers"].MaxEntries = rows
	return rows - 1
}

func (t *Tracer) prepareMovers() error {
	if t.objs.LimboGlance == nil {
		return nil
	}
	var err error
	if t.movers.rows, err = t.objs.Movers.Memory(); err != nil {
		return fmt.Errorf("mapping movers: %w", err)
	}
	if t.movers.glances, err = t.objs.Glances.Memory(); err != nil {
		return fmt.Errorf("mapping glances: %w", err)
	}
	t.movers.mask = t.objs.Movers.MaxEntries() - 1
	t.movers.buf = make([]byte, valuesMax*glanceSize)
	return nil
}

// rowOf is mover_row_of of bpf/movers.h.
func (m *moverSide) rowOf(addr uint64) uint32 {
	return uint32((addr>>6)*0x9e3779b97f4a7c15>>32) & m.mask
}

// find reads the row of an address and returns the way that it has there, or that it
// can have; negative if there is none.
func (m *moverSide) find(addr uint64) (row uint32, way int, taken bool) {
	row, way = m.rowOf(addr), -1
	if _, err := m.rows.ReadAt(m.row[:], int64(row)*int64(moverRowSize)); err != nil {
		return row, -1, false
	}
	for i := range moverWays {
		switch binary.LittleEndian.Uint64(m.row[i*moverSize:]) {
		case addr:
			return row, i, true
		case 0:
			way = i
		}
	}
	return row, way, false
}

// SetAside has the kernel side keep a socket: no walk for what waits hands it out any
// more, and Glance looks at it. The place is its own until TakeBack; a later socket at
// the same address takes it over. False where there is no room for it, or the program
// is not there.
func (t *Tracer) SetAside(s *flow.Mover) (place uint32, ok bool) {
	m := &t.movers
	if t.objs.LimboGlance == nil || s.Addr == 0 {
		return 0, false
	}
	row, way, taken := m.find(s.Addr)
	if way < 0 {
		return 0, false
	}
	b := m.row[:moverSize]
	putMover(b, s)
	place = row*uint32(moverWays) + uint32(way)
	if _, err := m.rows.WriteAt(b, int64(place)*int64(moverSize)); err != nil {
		return 0, false
	}
	if !taken {
		t.countMovers(1)
	}
	return place, true
}

// countMovers spares walks the search where there are none.
func (t *Tracer) countMovers(d int) {
	t.movers.count = uint32(int(t.movers.count) + d)
	// Where it cannot be set, walks hand out more, or search for nothing.
	_ = t.objs.MoversCount.Set(t.movers.count)
}

// Aside returns the place of a socket that is set aside.
func (t *Tracer) Aside(id flow.ID) (place uint32, ok bool) {
	if t.movers.count == 0 {
		return 0, false
	}
	row, way, taken := t.movers.find(id.Addr)
	if !taken {
		return 0, false
	}
	le, b := binary.LittleEndian, t.movers.row[way*moverSize:]
	if le.Uint16(b[12:]) != id.Local.Port() || le.Uint16(b[14:]) != id.Peer.Port() {
		return 0, false
	}
	return row*uint32(moverWays) + uint32(way), true
}

// TakeBack gives a place up.
func (t *Tracer) TakeBack(place uint32) {
	b, at := t.movers.row[:moverSize], int64(place)*int64(moverSize)
	if _, err := t.movers.rows.ReadAt(b, at); err != nil || binary.LittleEndian.Uint64(b) == 0 {
		return
	}
	clear(b)
	if _, err := t.movers.rows.WriteAt(b, at); err == nil {
		t.countMovers(-1)
	}
}

// putMover encodes a struct mover.
func putMover(b []byte, m *flow.Mover) {
	le := binary.LittleEndian
	le.PutUint64(b, m.Addr)
	le.PutUint32(b[8:], m.Hash)
	le.PutUint16(b[12:], m.Local)
	le.PutUint16(b[14:], m.Peer)
}

// Glance looks at sockets and calls fn for each, in their order. Of one that moved, the
// socket has the sequence numbers, and if it has written what is not acknowledged,
// Pending, LastReceive, LastAck, LastSend, Busy, RTO and Limits.Probing. Nothing else of it
// means anything, and of the others, nothing. It is only valid during the call.
func (t *Tracer) Glance(movers []flow.Mover, fn func(is flow.MoverIs, s *flow.Sock)) error {
	for from := 0; from < len(movers); from += valuesMax {
		some := movers[from:min(from+valuesMax, len(movers))]
		buf, err := t.glanceSome(some)
		if err != nil {
			return err
		}
		for i := range some {
			is := t.decode.glance(buf[i*glanceSize:], &t.movers.sock)
			fn(is, &t.movers.sock)
		}
	}
	return nil
}

func (t *Tracer) glanceSome(movers []flow.Mover) ([]byte, error) {
	m := &t.movers
	buf := m.buf[:len(movers)*glanceSize]
	clear(buf)
	for i := range movers {
		le, b := binary.LittleEndian, buf[i*glanceSize:]
		putMover(b, &movers[i])
		le.PutUint32(b[16:], movers[i].SndUna)
		le.PutUint32(b[20:], movers[i].RcvNxt)
		le.PutUint32(b[24:], movers[i].CopiedSeq)
	}
	if _, err := m.glances.WriteAt(buf, 0); err != nil {
		return nil, fmt.Errorf("writing glances: %w", err)
	}
	if _, err := t.run(t.objs.LimboGlance, uint64(len(movers))); err != nil {
		return nil, fmt.Errorf("running limbo_glance: %w", err)
	}
	if _, err := m.glances.ReadAt(buf, 0); err != nil {
		return nil, fmt.Errorf("reading glances: %w", err)
	}
	return buf, nil
}

// glance decodes a struct glance. What it sets of a socket it always sets, and it has
// nothing to do with the rest.
func (d *decoder) glance(b []byte, s *flow.Sock) flow.MoverIs {
	le := binary.LittleEndian
	switch limboMoverIs(b[28]) {
	case limboMoverIsMOVER_MOVED:
	case limboMoverIsMOVER_STOPPED:
		return flow.MoverStopped
	case limboMoverIsMOVER_GONE:
		return flow.MoverGone
	default:
		return flow.MoverGone
	}
	s.State, s.HasSocket, s.Pending = flow.StateEstablished, true, b[29]
	s.SndUna = le.Uint32(b[16:])
	s.RcvNxt = le.Uint32(b[20:])
	s.CopiedSeq = le.Uint32(b[24:])
	s.SndNxt = le.Uint32(b[32:])
	s.WriteSeq = le.Uint32(b[36:])
	s.LastReceive = d.jiffies(le.Uint32(b[40:]))
	s.LastAck = d.jiffies(le.Uint32(b[44:]))
	s.LastSend = d.jiffies(le.Uint32(b[48:]))
	s.Busy = d.jiffies(le.Uint32(b[52:]))
	s.Limits.Probing = d.jiffies(le.Uint32(b[56:]))
	s.RTO = d.jiffies(le.Uint32(b[60:]))
	s.Expires = -1
	return flow.MoverMoved
}
