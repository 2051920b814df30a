package agent

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// asides is the part of fakeKernel where sockets are set aside.
type asides struct{ movers map[uint32]flow.Mover }

// SetAside implements Kernel: the address is the place.
func (a *asides) SetAside(m *flow.Mover) (uint32, bool) {
	if a.movers == nil {
		a.movers = map[uint32]flow.Mover{}
	}
	a.movers[uint32(m.Addr)] = *m
	return uint32(m.Addr), true
}

// Aside implements Kernel.
func (a *asides) Aside(id flow.ID) (uint32, bool) {
	_, ok := a.movers[uint32(id.Addr)]
	return uint32(id.Addr), ok
}

// TakeBack implements Kernel.
func (a *asides) TakeBack(place uint32) { delete(a.movers, place) }

// Glance implements Kernel.
func (k *fakeKernel) Glance(movers []flow.Mover, fn func(is flow.MoverIs, s *flow.Sock)) error {
	if err := k.call("Glance"); err != nil {
		return err
	}
	for _, m := range movers {
		k.mu.Lock()
		s, ok := k.socks[m.Addr]
		k.mu.Unlock()
		is := flow.MoverMoved
		switch {
		case !ok || s.State != flow.StateEstablished:
			is = flow.MoverGone
		case s.WriteSeq != s.SndUna && s.SndUna == m.SndUna && s.RcvNxt == m.RcvNxt, s.RcvNxt != s.CopiedSeq && s.CopiedSeq == m.CopiedSeq:
			is = flow.MoverStopped
		}
		fn(is, &s)
	}
	return nil
}

// What moves is glanced at, and read by nobody; what stops is told.
func TestMoversAreLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		const sockets = 100
		for addr := range uint64(sockets) {
			b.k.exist(unreadSock(addr+1), 0)
		}
		b.start()
		b.pass(time.Second)
		reads, glances := len(b.k.called("Read")), len(b.k.called("Glance"))
		move := func() {
			for addr := range uint64(sockets) {
				b.k.change(addr+1, func(s *flow.Sock) { s.CopiedSeq++; s.RcvNxt++ })
			}
		}
		for range 60 {
			move()
			b.pass(time.Second)
		}
		b.said()
		if n := len(b.k.called("Glance")) - glances; n < 28 || n > 36 {
			t.Errorf("%d times glanced at all in a minute, want once in an eighth of the threshold", n)
		}
		if n := len(b.k.called("Read")) - reads; n != 0 {
			t.Errorf("read %d times", n)
		}
		move()
		b.k.change(7, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
		b.pass(2*stallAfter + inTime)
		if said := b.out.take(); len(said) != sockets-1 {
			t.Errorf("said %d findings, want %d", len(said), sockets-1)
		}
	})
}

// An agent that is stopped between its look at the clock and its look at the sockets does
// not take for still what moved meanwhile.
func TestStoppedBeforeAGlance(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.exist(unreadSock(1), 0)
		b.start()
		b.pass(time.Second)
		b.k.meanwhile("Glance", func() {
			time.Sleep(time.Minute)
			b.k.change(1, func(s *flow.Sock) { s.CopiedSeq++; s.RcvNxt++ })
			b.k.meanwhile("Glance", nil)
		})
		b.pass(time.Minute + 2*time.Second + stallAfter/2)
		b.said()
		b.expect(stallAfter, "open not_reading")
	})
}
