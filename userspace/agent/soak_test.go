package agent

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// life is what the soak knows of one socket: in one state, from then until then.
type life struct {
	sock       flow.Sock
	from, till time.Duration
	told       []finding.Finding
}

// soak is a host where sockets come and go at random, many more than the ring
// and the old generation hold, at addresses that are used again at once.
type soak struct {
	*bed
	r     *rand.Rand
	lives map[uint64]*life // by cookie
	live  map[uint64]*life // by address
}

var soakStates = []flow.State{
	flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck, flow.StateClosing,
}

func (s *soak) enter() {
	addr := 1 + s.r.Uint64N(200)
	if s.live[addr] != nil {
		return
	}
	cookie := uint64(len(s.lives) + 1)
	l := &life{sock: fakeSock(addr, cookie, soakStates[s.r.IntN(len(soakStates))]), from: s.k.boot()}
	stay := time.Duration(s.r.Int64N(int64(time.Second)))
	if s.r.IntN(4) == 0 {
		stay = thresholds[finding.KindOf(l.sock.State)] + time.Duration(s.r.Int64N(int64(time.Minute)))
	}
	l.till = l.from + stay
	s.lives[cookie], s.live[addr] = l, l
	s.k.enter(l.sock, task(uint32(cookie)))
}

// leave ends the sockets whose time has come.
func (s *soak) leave() {
	for addr := uint64(1); addr <= 200; addr++ {
		if l := s.live[addr]; l != nil && l.till <= s.k.boot() {
			l.till = s.k.boot()
			s.k.move(addr, flow.StateClose, int32(unix.ETIMEDOUT))
			delete(s.live, addr)
		}
	}
}

func (s *soak) listen() {
	for _, f := range s.out.take() {
		l := s.lives[f.Sock.Cookie]
		if l == nil {
			s.t.Fatalf("%s of a socket that never was", words(&f))
		}
		l.told = append(l.told, f)
	}
}

// check holds what was told of a socket against its life. late is what losses
// may cost: a full ring is noticed at the next tick and read again after it.
func (s *soak) check(l *life) {
	const late = inTime + 3*tick + time.Second
	kind, stayed := finding.KindOf(l.sock.State), l.till-l.from
	threshold := thresholds[kind]
	if len(l.told) == 0 {
		if stayed > threshold+late {
			s.t.Errorf("nothing is told of a socket that was %v in %v", stayed, l.sock.State)
		}
		return
	}
	for i, f := range l.told {
		want := finding.Update
		switch i {
		case 0:
			want = finding.Open
		case len(l.told) - 1:
			want = finding.Resolved
		}
		if f.Status != want || f.ID != l.told[0].ID || f.Kind != kind {
			s.t.Errorf("record %d of %d is %s of %v, id %s", i, len(l.told), words(&f), f.Kind, f.ID)
		}
	}
	first, last := l.told[0], l.told[len(l.told)-1]
	if first.Duration < threshold || first.Duration > stayed+time.Millisecond {
		s.t.Errorf("%v was opened after %v, it was there for %v", kind, first.Duration, stayed)
	}
	if first.Duration > threshold+late {
		s.t.Errorf("%v was opened after %v, %v late", kind, first.Duration, first.Duration-threshold)
	}
	if p := first.Owner.Process; p.PID != 0 && uint64(p.PID) != l.sock.Cookie {
		s.t.Errorf("pid %d is named, it was %d", p.PID, l.sock.Cookie)
	}
	if last.Status != finding.Resolved || last.Duration > stayed+late {
		s.t.Errorf("%v ended after %v, told after %v (%s)", kind, stayed, last.Duration, words(&last))
	}
}

func TestSoak(t *testing.T) {
	for seed := range uint64(4) {
		inBubble(t, func(t *testing.T, b *bed) {
			s := &soak{bed: b, r: rand.New(rand.NewPCG(seed, 1)), lives: map[uint64]*life{}, live: map[uint64]*life{}}
			if seed > 0 {
				b.k.ringMax, b.k.oldMax = 3, 32
				b.k.meanwhile("Walk", func() { time.Sleep(2 * time.Millisecond) })
				b.k.meanwhile("Holders", func() { time.Sleep(5 * time.Millisecond) })
			}
			b.start()
			for range 6000 {
				for range s.r.IntN(3) * s.r.IntN(2) {
					s.enter()
				}
				s.leave()
				s.pass(20 * time.Millisecond)
				s.listen()
			}
			for len(s.live) > 0 {
				s.leave()
				s.pass(time.Second)
				s.listen()
			}
			s.pass(time.Minute)
			s.listen()
			findings := 0
			for _, l := range s.lives {
				s.check(l)
				if len(l.told) > 0 {
					findings++
				}
			}
			b.atZero()
			if due, ok := b.agent.detector.Next(); ok {
				t.Errorf("a socket is watched, due at %s; none is there", due)
			}
			if findings < 100 {
				t.Errorf("%d findings of %d sockets: this tests little", findings, len(s.lives))
			}
			if lost := lossCount(b.out.takeLosses()); (lost["ring_buffer"] > 0) != (seed > 0) {
				t.Errorf("seed %d: lost %v", seed, lost)
			} else if seed > 0 && b.meter.lost["ring_buffer"] != b.k.stats.RingFull {
				t.Errorf("%d lost, %d said", b.k.stats.RingFull, b.meter.lost["ring_buffer"])
			}
		})
	}
}
