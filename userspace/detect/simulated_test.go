package detect

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// ways are where a socket can go from its state; from CLOSE it begins again.
var ways = map[flow.State][]flow.State{
	flow.StateClose: {
		flow.StateSynSent, flow.StateCloseWait, flow.StateFinWait1, flow.StateFinWait2, flow.StateLastAck, flow.StateEstablished,
	},
	flow.StateSynSent:     {flow.StateEstablished, flow.StateClose},
	flow.StateEstablished: {flow.StateCloseWait, flow.StateFinWait1, flow.StateClose},
	flow.StateCloseWait:   {flow.StateLastAck, flow.StateClose},
	flow.StateFinWait1:    {flow.StateFinWait2, flow.StateClosing, flow.StateClose},
	flow.StateFinWait2:    {flow.StateClose},
	flow.StateClosing:     {flow.StateClose},
	flow.StateLastAck:     {flow.StateClose},
	flow.StateTimeWait:    {flow.StateClose},
}

// move takes the socket of a slot on, and sends the event if anybody would.
func (w *world) move(slot int, arg byte) {
	m := &w.slots[slot]
	if !m.alive {
		w.enter(slot, arg)
		return
	}
	old := m.sock.State
	to := ways[old][int(arg)%len(ways[old])]
	if m.sock.TimeWait {
		// No tracepoint tells of minisockets.
		m.sock.State = flow.StateTimeWait
		m.alive = arg&1 == 0 && old != flow.StateTimeWait
		return
	}
	e := flow.Event{Kind: flow.EventTransition, Time: w.now, ID: m.sock.ID, Old: old, New: to, Orphan: m.sock.Dead}
	if old == flow.StateFinWait2 && arg&0x40 != 0 {
		e.Successor, e.Orphan = w.succeed(m), true
	}
	if m.tracked && arg&0x80 == 0 {
		w.flight = append(w.flight, e)
	}
	if finding.KindOf(to) != finding.KindOf(old) {
		m.limbo = w.now
	}
	m.sock.State, m.entered, m.alive = to, w.now, to != flow.StateClose
	m.slot = !m.tracked
	m.tracked = m.tracked && w.d.watched(to)
}

func (w *world) enter(slot int, arg byte) {
	w.cookie++
	states := ways[flow.StateClose]
	w.slots[slot] = simulated{
		alive: true, slot: true, entered: w.now, limbo: w.now, bound: time.Duration(arg>>3) % 5,
		sock: socket(w.addr(slot), w.cookie, states[int(arg)%len(states)]),
	}
}

// succeed leaves a minisocket in a free slot, and returns its address.
func (w *world) succeed(m *simulated) uint64 {
	for i := range w.slots {
		if next := &w.slots[i]; !next.alive {
			*next = *m
			next.sock = minisocket(w.addr(i), m.sock.Cookie, 60*second)
			next.sock.ID = m.sock.ID
			next.sock.Addr = w.addr(i)
			next.slot = false
			return next.sock.Addr
		}
	}
	return 0
}

// promote announces the sockets that outlived a tick; arg says which
// announcements are lost, and whether the old generation is full.
func (w *world) promote(arg byte) {
	for i := range w.slots {
		m := &w.slots[i]
		if !m.alive || !m.slot || w.now-m.entered < tick || !w.d.watched(m.sock.State) {
			continue
		}
		m.slot, m.tracked = false, arg&0x80 == 0
		if arg>>i&1 != 0 && arg&0x40 != 0 {
			continue
		}
		w.flight = append(w.flight, flow.Event{
			Kind: flow.EventPromoted, Time: w.now, Since: m.entered, ID: flow.ID{Key: m.sock.Key},
			New: m.sock.State, Untracked: !m.tracked,
		})
	}
}

// anyEvent is one that only a broken kernel sends.
func (w *world) anyEvent(slot int) {
	m := &w.slots[slot]
	w.flight = append(w.flight, flow.Event{
		Kind: flow.EventKind(w.byte()), Time: w.now, Since: time.Duration(w.byte()) * 10 * second,
		ID:  flow.ID{Key: flow.Key{Addr: w.addr(slot), Cookie: uint64(w.byte()) % (w.cookie + 2)}},
		Old: m.sock.State, New: flow.State(w.byte()), Successor: uint64(w.byte()%3) * 0x1001,
	})
}

// values changes what a reading of the socket shows.
func (w *world) values(slot int, arg byte) {
	s := &w.slots[slot].sock
	if s.TimeWait {
		return
	}
	switch w.byte() % 6 {
	case 0:
		s.RcvNxt = uint32(arg)
	case 1:
		s.CopiedSeq = s.RcvNxt
	case 2:
		s.LastSend = time.Duration(arg) * second
	case 3:
		s.SendWindow = uint32(arg) % 2
	case 4:
		s.WriteSeq = uint32(arg)
	case 5:
		s.HasSocket = !s.HasSocket
	}
}

func (w *world) reading(m *simulated) flow.Sock {
	s := m.sock
	s.LastAck = (w.now - m.entered) / 4 * min(m.bound, 4)
	s.Waiting = s.LastAck
	return s
}

func (w *world) read(socks []*flow.Sock) {
	for _, s := range socks {
		is := flow.Sock{ID: s.ID, Gone: true}
		for i := range w.slots {
			m := &w.slots[i]
			if m.alive && w.addr(i) == s.Addr && (s.Cookie == 0 || m.sock.Cookie == s.Cookie) {
				is = w.reading(m)
			}
		}
		*s = is
	}
}

// walk comes across all sockets; track says whether there is room for them in
// the old generation.
func (w *world) walk(track bool) {
	for i := range w.slots {
		m := &w.slots[i]
		if !m.alive || !w.d.watched(m.sock.State) {
			continue
		}
		var since time.Duration
		if m.tracked {
			since = m.limbo // what the old generation recalls
		}
		s := w.reading(m)
		if w.d.Found(&s, flow.Task{}, since, w.now) && track && !s.TimeWait {
			m.tracked = true
			w.d.Tracked(s.ID)
		}
	}
}
