package agent

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// shelf is a Keeper in memory.
type shelf struct {
	mu   sync.Mutex
	kept map[string]flow.Kept
}

func shelfKey(k *flow.Kept) string {
	if k.FindingID != "" {
		return k.FindingID
	}
	return string([]byte{byte(k.Sock.Addr), byte(k.Sock.Cookie), byte(k.Sock.Cookie >> 8)})
}

func (s *shelf) Keep(k *flow.Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[shelfKey(k)] = *k
}

func (s *shelf) Forget(k *flow.Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, shelfKey(k))
}

func (s *shelf) all() []flow.Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.kept))
}

// keeping is a bed whose agent keeps.
func keepingBed(b *bed) *shelf {
	s := &shelf{kept: map[string]flow.Kept{}}
	b.cfg.Keep = s
	return s
}

// restart ends the agent and starts another one, after meanwhile has run. What the
// kernel side knew is lost with the agent.
func (b *bed) restart(s *shelf, meanwhile func()) {
	b.t.Helper()
	if err := b.stop(); err != nil {
		b.t.Fatal(err)
	}
	b.k.mu.Lock()
	b.k.old, b.k.young, b.k.ring = map[uint64]slot{}, nil, nil
	b.k.mu.Unlock()
	meanwhile()
	b.k.mu.Lock()
	b.k.young, b.k.ring = nil, nil
	b.k.mu.Unlock()
	b.meter = newGauges(b.t)
	b.cfg.Kept, b.ended = s.all(), false
	b.start()
}

func TestRestartGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := keepingBed(b)
		b.start()
		b.k.enter(fakeSock(1, 11, flow.StateCloseWait), flow.Task{})
		entered := b.wall()
		b.pass(tick)
		b.k.hold(1, task(7), 3)
		first := b.expect(closeAge+inTime, "open eof_ignored")[0]
		b.pass(20 * time.Second)
		b.restart(s, func() { b.pass(5 * time.Second) })
		// The first update is due when it would have been without the restart.
		update := b.expect(5*time.Second+inTime, "update eof_ignored")[0]
		b.k.move(1, flow.StateLastAck, 0)
		last := b.expect(2*tick, "resolved closed")[0]
		for _, f := range []finding.Finding{first, update, last} {
			if f.ID != first.ID || !f.Since.Equal(first.Since) || !f.SinceExact || f.Since.Sub(entered).Abs() > tick {
				t.Errorf("%v: id %s, since %v, exact %v; entered %v", f.Status, f.ID, f.Since, f.SinceExact, entered)
			}
		}
		b.k.move(1, flow.StateClose, 0)
		b.pass(2 * time.Second)
		b.atZero()
		if all := s.all(); len(all) != 0 {
			t.Errorf("still kept: %+v", all)
		}
	})
}

func TestRestartKeepsAges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := keepingBed(b)
		b.start()
		b.k.enter(fakeSock(1, 11, flow.StateCloseWait), task(9))
		entered := b.wall()
		b.pass(10 * time.Second)
		b.restart(s, func() { b.pass(3 * time.Second) })
		b.said()
		f := b.expect(closeAge-13*time.Second+inTime, "open eof_ignored")[0]
		if !f.SinceExact || f.Since.Sub(entered).Abs() > tick || f.Owner.Process.PID != 9 {
			t.Errorf("since %v, exact %v, entered %v, %+v", f.Since, f.SinceExact, entered, f.Owner)
		}
		b.k.move(1, flow.StateClose, 0)
		b.pass(3 * time.Second)
		if all := s.all(); len(all) != 0 {
			t.Errorf("still kept: %+v", all)
		}
	})
}

func TestEndedBetweenRuns(t *testing.T) {
	connect := func(addr, cookie uint64, age time.Duration) flow.Sock {
		s := fakeSock(addr, cookie, flow.StateSynSent)
		s.Waiting = age
		return s
	}
	for _, tt := range []struct {
		name      string
		sock      flow.Sock
		meanwhile func(b *bed)
		want      []string
	}{
		{"gone", fakeSock(1, 11, flow.StateCloseWait), func(b *bed) { b.k.free(1) }, []string{"resolved unknown"}},
		{
			"another socket at its address", fakeSock(1, 11, flow.StateCloseWait),
			func(b *bed) { b.k.exist(fakeSock(1, 12, flow.StateCloseWait), 0) },
			[]string{"resolved unknown"},
		},
		{
			"in another state", fakeSock(1, 11, flow.StateCloseWait),
			func(b *bed) { b.k.change(1, func(s *flow.Sock) { s.State = flow.StateLastAck }) },
			[]string{"resolved closed"},
		},
		{
			"another connect", connect(1, 11, time.Hour),
			func(b *bed) { b.k.exist(connect(1, 11, 0), 0) },
			[]string{"resolved unknown"},
		},
		{
			"kind turned off", fakeSock(1, 11, flow.StateCloseWait),
			func(b *bed) { b.cfg.Rules.Base[finding.CloseWaitSilent] = 0 },
			[]string{"resolved unknown"},
		},
		{"as it was", fakeSock(1, 11, flow.StateCloseWait), func(*bed) {}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				s := keepingBed(b)
				b.k.exist(tt.sock, time.Hour)
				b.start()
				b.pass(2 * time.Second)
				id := b.said("open " + map[flow.State]string{flow.StateCloseWait: "eof_ignored", flow.StateSynSent: "no_reply"}[tt.sock.State])[0].ID
				b.restart(s, func() { b.pass(time.Second); tt.meanwhile(b) })
				for _, f := range b.expect(2*time.Second, tt.want...) {
					if f.ID != id {
						t.Errorf("another id")
					}
				}
			})
		})
	}
}

// TestUnreadableKept: what another version means is let go of.
func TestUnreadableKept(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := keepingBed(b)
		good := flow.Kept{FindingID: "00", Sock: fakeSock(1, 11, 0).ID, State: flow.StateCloseWait, Reason: "eof_ignored", Relation: "holder", Threshold: closeAge}
		for i, change := range []func(*flow.Kept){
			func(k *flow.Kept) { k.Reason = "of a later version" },
			func(k *flow.Kept) { k.Relation = "\x00" },
			func(k *flow.Kept) { k.State = flow.StateListen },
			func(k *flow.Kept) { k.Threshold = 0 },
			func(k *flow.Kept) { k.Since = uptime + time.Hour },
		} {
			bad := good
			bad.FindingID += string(rune('a' + i))
			change(&bad)
			s.Keep(&bad)
		}
		b.cfg.Kept = s.all()
		b.start()
		b.expect(time.Second)
		if all := s.all(); len(all) != 0 {
			t.Errorf("still kept: %+v", all)
		}
	})
}

// counting is an output that counts findings and writes none.
type counting struct{ Output }

func (c *counting) Finding(*finding.Finding) {}

func (c *counting) FindingThen(_ *finding.Finding, then func(own bool)) { then(false) }

// TestRestartOfGroups: what was only counted has no records yet, so it opens once more,
// with its age.
func TestRestartOfGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := keepingBed(b)
		b.wrap = func(out Output) Output { return &counting{out} }
		b.start()
		for i := range uint64(2) {
			b.k.enter(fakeSock(i+1, i+11, flow.StateCloseWait), flow.Task{})
		}
		entered := b.wall()
		b.expect(closeAge + 2*time.Second)
		if all := s.all(); len(all) != 2 || !all[0].Grouped || all[0].FindingID == "" {
			t.Errorf("kept %+v", all)
		}
		b.wrap = nil
		b.restart(s, func() {
			b.pass(5 * time.Second)
			b.k.free(2)
		})
		first := b.expect(inTime, "open eof_ignored")[0]
		if !first.SinceExact || first.Since.Sub(entered).Abs() > tick {
			t.Errorf("since %v, exact %v; entered %v", first.Since, first.SinceExact, entered)
		}
		if all := s.all(); len(all) != 1 || all[0].Grouped || all[0].FindingID != first.ID {
			t.Errorf("kept %+v", all)
		}
		b.k.move(1, flow.StateClose, 0)
		b.expect(2*tick, "resolved closed")
		b.pass(2 * time.Second)
		if all := s.all(); len(all) != 0 {
			t.Errorf("still kept: %+v", all)
		}
	})
}

// TestPolled: without events a socket is found by looking often, and its age is not
// said to be exact.
func TestPolled(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Polled = true
		b.k.setDeaf(true)
		b.k.watch = 0
		b.start()
		b.k.exist(fakeSock(1, 11, flow.StateCloseWait), 0)
		f := b.expect(closeAge+pollMost+3*tick+inTime, "open eof_ignored")[0]
		if f.SinceExact {
			t.Error("the age is said to be exact")
		}
	})
}
