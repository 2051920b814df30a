package agent

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// lossCount adds up what the records say, by stage.
func lossCount(losses []finding.Loss) map[string]uint64 {
	n := map[string]uint64{}
	for _, l := range losses {
		n[l.Where] += l.Count
	}
	return n
}

// Each stage's losses are said once, with their number, and the state is read
// again where events were lost.
func TestLosses(t *testing.T) {
	tests := []struct {
		where string
		lose  func(*flow.Losses)
		// reread is whether the state of all sockets is read again, and then
		// it is said.
		reread bool
	}{
		{"ring_buffer", func(l *flow.Losses) { l.RingFull += 5 }, true},
		{"recursion", func(l *flow.Losses) { l.Recursion += 5 }, true},
		{"old_generation", func(l *flow.Losses) { l.PromotedFull += 5 }, false},
		{"walk", func(l *flow.Losses) { l.WalkCut += 5 }, false},
		{"syn_drops", func(l *flow.Losses) { l.SYNDrops += 5 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.where, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				b.start()
				b.pass(time.Second)
				walks := len(b.k.called("Walk"))
				b.k.lose(tt.lose)
				b.pass(2 * time.Second)
				losses := b.out.takeLosses()
				if len(losses) != 1 || losses[0].Where != tt.where || losses[0].Count != 5 {
					t.Fatalf("said %+v, want one record of 5", losses)
				}
				if l := losses[0]; l.Reread != tt.reread || strings.Contains(l.Message, "read again") != tt.reread || l.Time.IsZero() {
					t.Errorf("said %+v", l)
				}
				if again := len(b.k.called("Walk")) - walks; again != 1 == tt.reread {
					t.Errorf("the state was read %d times", again)
				}
				if b.meter.lost[tt.where] != 5 {
					t.Errorf("%d in the metrics", b.meter.lost[tt.where])
				}
				if b.meter.counters().Losses == (flow.Losses{}) {
					t.Error("the metrics do not get the kernel's counters")
				}
				b.pass(time.Minute)
				if losses := b.out.takeLosses(); len(losses) != 0 {
					t.Errorf("said again: %+v", losses)
				}
			})
		})
	}
}

// Losses that go on are said once a second, and add up.
func TestLossesGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Second)
		const rounds = 100
		for range rounds {
			b.k.lose(func(l *flow.Losses) { l.RingFull += 3; l.PromotedFull += 2; l.Recursion++ })
			b.pass(100 * time.Millisecond)
		}
		b.pass(2 * time.Second)
		losses := b.out.takeLosses()
		n := lossCount(losses)
		if n["ring_buffer"] != 3*rounds || n["old_generation"] != 2*rounds || n["recursion"] != rounds {
			t.Errorf("the records add up to %v", n)
		}
		last := map[string]time.Time{}
		for _, l := range losses {
			if gap := l.Time.Sub(last[l.Where]); gap < time.Second {
				t.Errorf("%s is said %v after the last time", l.Where, gap)
			}
			last[l.Where] = l.Time
		}
		if len(losses) < 3*10 || len(losses) > 3*12 {
			t.Errorf("%d records in 10 s", len(losses))
		}
		if b.meter.lost["ring_buffer"] != 3*rounds {
			t.Errorf("%d in the metrics", b.meter.lost["ring_buffer"])
		}
	})
}

// What was lost last is said before the end.
func TestLossBeforeTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Second)
		b.k.lose(func(l *flow.Losses) { l.RingFull += 7 })
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		losses := b.out.takeLosses()
		if n := lossCount(losses); n["ring_buffer"] != 7 || b.meter.lost["ring_buffer"] != 7 {
			t.Fatalf("the records say %v, the metrics %v", n, b.meter.lost)
		}
		if losses[0].Reread || strings.Contains(losses[0].Message, "read again") {
			t.Errorf("said %+v, but nothing was read again", losses[0])
		}
	})
}

// A counter that cannot be read for a moment comes back as 0.
func TestCounterThatFallsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.lose(func(l *flow.Losses) { l.Recursion = 5 })
		b.pass(2 * time.Second)
		b.k.lose(func(l *flow.Losses) { l.Recursion = 0 })
		b.pass(2 * time.Second)
		b.k.lose(func(l *flow.Losses) { l.Recursion = 6 })
		b.pass(2 * time.Second)
		losses := b.out.takeLosses()
		if n := lossCount(losses); n["recursion"] != 6 || len(losses) != 2 || losses[0].Count != 5 {
			t.Errorf("said %+v, want 5 and 1", losses)
		}
	})
}

// A flood of losses does not make the agent walk all the time, and does not
// stop it from walking either.
func TestWalksAreSpacedByTheirCost(t *testing.T) {
	const cost = 50 * time.Millisecond
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.meanwhile("Walk", func() { time.Sleep(cost) })
		b.start()
		before := len(b.k.called("Walk"))
		const span = 60 * time.Second
		for range int(span / tick) {
			b.k.lose(func(l *flow.Losses) { l.RingFull++ })
			b.pass(tick)
		}
		walks := len(b.k.called("Walk")) - before
		if most := int(span / (rereadShare * cost)); walks > most || walks < most/2 {
			t.Errorf("%d walks, want at most %d and not many fewer", walks, most)
		}
		b.pass(5 * time.Second)
		if n := lossCount(b.out.takeLosses()); n["ring_buffer"] != uint64(span/tick) {
			t.Errorf("%d lost, want %d", n["ring_buffer"], span/tick)
		}
	})
}

// The state is read now and then though nothing was lost, and seldom if that is dear.
func TestSurvey(t *testing.T) {
	for _, tt := range []struct{ cost, every time.Duration }{
		{0, surveyEvery}, {10 * time.Millisecond, surveyEvery}, {200 * time.Millisecond, surveyShare * 200 * time.Millisecond},
	} {
		inBubble(t, func(t *testing.T, b *bed) {
			b.k.meanwhile("Walk", func() { time.Sleep(tt.cost) })
			b.k.meanwhile("WalkSome", func() { time.Sleep(tt.cost) })
			b.start()
			b.pass(10 * tt.every)
			walks := b.k.called("Survey")
			// A patrol brings it sooner rather than be followed by it.
			early := min(max(stallAfter/patrolParts, patrolShare*tt.cost)+2*tick, tt.every)
			for i := 1; i < len(walks); i++ {
				if gap := walks[i] - walks[i-1]; gap < tt.every-early || gap > tt.every+2*tick+2*tt.cost {
					t.Errorf("a walk of %v came %v after the last, want %v", tt.cost, gap, tt.every)
				}
			}
			if len(walks) < 10 {
				t.Errorf("%d walks of %v", len(walks), tt.cost)
			}
		})
	}
}

// A socket that no event told of is found by the survey; how long it has been
// there is a bound.
func TestSurveyFinds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Second)
		b.k.exist(fakeSock(1, 1, flow.StateCloseWait), 0)
		b.pass(closeAge + time.Second)
		f := b.expect(inTime, "open eof_ignored")[0]
		if f.SinceExact {
			t.Error("its beginning was not seen")
		}
		b.k.move(1, flow.StateClose, int32(unix.EPIPE))
		b.expect(inTime, "resolved reset") // it is tracked
	})
}

// Every event of a while is lost: what is stuck is flagged and what ended is
// resolved, each once.
func TestRingFull(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		for i := range uint64(50) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), task(9))
		}
		b.pass(4 * time.Second)
		if n := len(b.out.take()); n != 50 {
			t.Fatalf("%d findings, want 50", n)
		}
		b.k.setDeaf(true)
		for i := range uint64(50) {
			b.k.move(i+1, flow.StateEstablished, 0)
			b.k.enter(fakeSock(i+101, i+101, flow.StateSynSent), task(9))
		}
		b.pass(2 * time.Second)
		b.k.setDeaf(false)
		b.pass(3 * time.Second)
		count := map[string]int{}
		for _, f := range b.out.take() {
			count[words(&f)]++
			if f.Status == finding.Open && (f.Owner.Process.PID != 9 || !f.SinceExact) {
				t.Errorf("opened with pid %d, exact %v; the old generation recalls both", f.Owner.Process.PID, f.SinceExact)
			}
		}
		if count["open no_reply"] != 50 || count["resolved established"]+count["resolved unknown"] != 50 {
			t.Errorf("said %v", count)
		}
	})
}

// Where the old generation is full sockets are watched by reading them.
func TestOldGenerationFull(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.oldMax = 4
		b.start()
		for i := range uint64(20) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), task(9))
		}
		b.pass(3*time.Second + inTime)
		if n := len(b.out.take()); n != 20 {
			t.Fatalf("%d findings, want 20", n)
		}
		if n := lossCount(b.out.takeLosses()); n["old_generation"] != 16 {
			t.Errorf("%d said to have found no room, want 16", n["old_generation"])
		}
		for i := range uint64(20) {
			b.k.move(i+1, flow.StateClose, int32(unix.ECONNREFUSED))
		}
		b.pass(2 * time.Second)
		resolved := 0
		for _, f := range b.out.take() {
			if f.Status == finding.Resolved {
				resolved++
			}
		}
		if resolved != 20 {
			t.Errorf("%d resolved, want 20", resolved)
		}
		b.atZero()
	})
}

// Many open findings are read seldom; after a loss they are read at once.
func TestManyAreReadAfterALoss(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		const sockets = 6000 // one reading each in 3 s
		for i := range uint64(sockets) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateCloseWait), flow.Task{})
		}
		b.pass(closeAge + inTime)
		if n := len(b.out.take()); n != sockets {
			t.Fatalf("%d findings, want %d", n, sockets)
		}
		b.k.setDeaf(true)
		for i := range uint64(sockets) {
			b.k.move(i+1, flow.StateClose, 0)
		}
		b.k.setDeaf(false)
		b.pass(4 * tick)
		if n := len(b.out.take()); n != sockets {
			t.Errorf("%d resolved a second later, want %d", n, sockets)
		}
		b.atZero()
	})
}

// What the snapshot found sends events from then on: they are waited for if a
// reading is faster.
func TestSnapshotIsTracked(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.exist(fakeSock(1, 1, flow.StateCloseWait), time.Hour)
		b.start()
		b.said("open eof_ignored")
		b.k.setLate(true)
		b.k.move(1, flow.StateClose, int32(unix.EPIPE))
		b.expect(pollEvery + tick)
		b.k.setLate(false)
		b.expect(tick, "resolved reset")
	})
}

// pollEvery is how often the detector asks for a reading of an open finding.
const pollEvery = time.Second
