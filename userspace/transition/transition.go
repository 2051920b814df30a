// Package transition makes records of state changes out of kernel events: with
// the time spent in the state that was left, and with the local port of a
// connect, which the kernel chooses only after it has announced SYN_SENT.
package transition

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// socketsMax bounds what is remembered, some 100 MiB; beyond it, times spent in
// a state are unknown until sockets close.
const socketsMax = 1 << 20

// Converter turns batches of events into records, in order.
type Converter struct {
	// Read reads present values (see tracer.Tracer.Read).
	Read func(socks []*flow.Sock, track bool) error
	// KernelAges: the events say when the left state was entered.
	KernelAges bool
	// LocalPort and Port filter connects, whose port the kernel side did not
	// know; 0 lets all pass.
	LocalPort, Port uint16

	sockets map[uint64]socket
	portOf  map[uint64]int // address → index of a connect without a port
	ask     []*flow.Sock
	record  finding.Transition
}

// socket is what is remembered of one between its transitions.
type socket struct {
	cookie  uint64
	entered time.Duration
	role    flow.Role
}

// New returns an empty Converter.
func New(read func([]*flow.Sock, bool) error) *Converter {
	return &Converter{Read: read, sockets: make(map[uint64]socket), portOf: make(map[uint64]int)}
}

// Forget drops what is remembered: events were lost, so it may be wrong.
func (c *Converter) Forget() { clear(c.sockets) }

// Convert calls emit for each event of a batch. wall is the wall clock at boot.
// The record is only valid during the call. The events are changed.
func (c *Converter) Convert(events []flow.Event, wall time.Time, emit func(*finding.Transition)) error {
	if err := c.findPorts(events); err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		s := c.remember(e)
		if !c.wants(e) {
			continue
		}
		c.record = finding.Transition{
			Time:        wall.Add(e.Time),
			ID:          e.ID,
			Role:        s.role,
			Old:         e.Old,
			New:         e.New,
			Previous:    c.previous(e, s),
			Task:        e.Task,
			Retransmit:  e.Kind == flow.EventRetransmit,
			Retransmits: e.Retransmits,

			RetransmitKind: e.Retransmit,
			Outcome:        outcome(e),
		}
		emit(&c.record)
	}
	return nil
}

// outcome says how a connect failed.
func outcome(e *flow.Event) finding.Outcome {
	if e.Kind == flow.EventTransition && e.Old == flow.StateSynSent && e.New == flow.StateClose {
		return detect.EventOutcome(e)
	}
	return finding.OutcomeNone
}

// wants looks again at connects that passed for want of a port.
func (c *Converter) wants(e *flow.Event) bool {
	local, peer := e.Local.Port(), e.Peer.Port()
	return (c.LocalPort == 0 || local == c.LocalPort) && (c.Port == 0 || local == c.Port || peer == c.Port)
}

func (c *Converter) previous(e *flow.Event, s socket) time.Duration {
	switch {
	case c.KernelAges && e.Since > 0:
		return e.Time - e.Since
	case !c.KernelAges && s.entered > 0:
		return e.Time - s.entered
	}
	return -1
}

// remember returns what was known before the event and keeps what it adds. A
// retransmission changes nothing.
func (c *Converter) remember(e *flow.Event) socket {
	s, has := c.sockets[e.Addr]
	if s.cookie != e.Cookie {
		s = socket{cookie: e.Cookie}
	}
	if e.Kind == flow.EventRetransmit {
		return s
	}
	switch {
	case e.New == flow.StateSynSent:
		s.role = flow.RoleClient
	case e.New == flow.StateSynRecv && e.Old != flow.StateSynSent:
		// Not both at once (RFC 9293, simultaneous open).
		s.role = flow.RoleServer
	}
	next := s
	next.entered = e.Time
	switch {
	case e.New == flow.StateClose:
		delete(c.sockets, e.Addr)
	case has || len(c.sockets) < socketsMax:
		c.sockets[e.Addr] = next
	}
	return s
}

// findPorts gives connects their local port: a later transition of the same
// batch has it, and else the socket itself.
func (c *Converter) findPorts(events []flow.Event) error {
	clear(c.portOf)
	for i := range events {
		e := &events[i]
		if len(c.portOf) > 0 && e.Local.Port() != 0 {
			if j, ok := c.portOf[e.Addr]; ok && events[j].Cookie == e.Cookie {
				events[j].Local = e.Local
				delete(c.portOf, e.Addr)
			}
		}
		if e.New == flow.StateSynSent && e.Local.Port() == 0 {
			c.portOf[e.Addr] = i
		}
	}
	return c.readPorts(events)
}

func (c *Converter) readPorts(events []flow.Event) error {
	if len(c.portOf) == 0 {
		return nil
	}
	c.ask = c.ask[:0]
	for addr, i := range c.portOf {
		c.ask = append(c.ask, &flow.Sock{ID: flow.ID{Key: flow.Key{Addr: addr, Cookie: events[i].Cookie}}})
	}
	if err := c.Read(c.ask, false); err != nil {
		return err
	}
	for _, s := range c.ask {
		if !s.Gone && s.Local.Port() != 0 {
			events[c.portOf[s.Addr]].Local = s.Local
		}
	}
	return nil
}
