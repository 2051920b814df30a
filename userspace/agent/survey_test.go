package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func (k *fakeKernel) hide() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.Hidden++
}

// An entry into CLOSE_WAIT that the kernel hid is found in time for its
// threshold, long before the survey would come by, and nothing is called lost.
func TestHidden(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(20 * tick)
		before := len(b.k.called("Walk"))
		b.k.exist(fakeSock(1, 1, flow.StateCloseWait), 0)
		b.k.hide()
		b.pass(hiddenPace(closeAge) + (settleTicks+2)*tick)
		if n := len(b.k.called("Walk")) - before; n != 1 {
			t.Fatalf("%d walks, want one", n)
		}
		b.pass(closeAge - hiddenPace(closeAge))
		b.expect(inTime+(settleTicks+2)*tick, "open eof_ignored")
		if losses := b.out.takeLosses(); len(losses) != 0 {
			t.Errorf("losses %+v", losses)
		}
	})
}

// The kernel hides transitions all the time, of sockets nobody is interested in:
// walks keep their pace.
func TestHiddenPace(t *testing.T) {
	for _, tt := range []struct{ cost, every time.Duration }{
		{0, hiddenPace(closeAge)},
		{100 * time.Millisecond, hiddenShare * 100 * time.Millisecond},
	} {
		inBubble(t, func(t *testing.T, b *bed) {
			b.k.meanwhile("Walk", func() { time.Sleep(tt.cost) })
			b.k.meanwhile("WalkSome", func() { time.Sleep(tt.cost) })
			b.start()
			for range 10 * tt.every / tick {
				b.k.hide()
				b.pass(tick)
			}
			walks := b.k.called("Walk")
			for i := 1; i < len(walks); i++ {
				if gap := walks[i] - walks[i-1]; gap < tt.every {
					t.Errorf("a walk of %v came %v after the last, want %v at least", tt.cost, gap, tt.every)
				}
			}
			if len(walks) < 8 {
				t.Errorf("%d walks of %v in %v", len(walks), tt.cost, 10*tt.every)
			}
		})
	}
	if hiddenPace(0) != hiddenMost || hiddenPace(time.Hour) != hiddenMost || hiddenPace(time.Second) != hiddenLeast {
		t.Error("the pace leaves its bounds")
	}
}

// What a survey meets on its way is left to the young generation; it does not
// become a socket that is tracked.
func TestSurveyLeavesWhatPasses(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(20 * tick)
		passing, stuck := fakeSock(1, 1, flow.StateCloseWait), fakeSock(2, 2, flow.StateCloseWait)
		b.k.meanwhile("Walk", func() {
			b.k.exist(passing, 0)
			b.k.exist(stuck, 0)
		})
		b.k.hide()
		walks := len(b.k.called("Walk"))
		for len(b.k.called("Walk")) == walks {
			b.pass(tick)
		}
		b.k.meanwhile("Walk", nil)
		if _, _, ok := b.k.Recall(passing.Key); ok {
			t.Error("a socket that is passing is tracked")
		}
		b.k.move(1, flow.StateClose, 0)
		b.pass((settleTicks + 2) * tick)
		if _, _, ok := b.k.Recall(passing.Key); ok {
			t.Error("a socket that is gone is tracked")
		}
		if _, _, ok := b.k.Recall(stuck.Key); !ok {
			t.Error("the socket that stayed is not tracked")
		}
	})
}

// A survey and a patrol are one walk where both are due, and it does what both do:
// what nobody told of is found, tracked and told in time.
func TestPatrolCarriesSurvey(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(20 * tick)
		missed, passing := fakeSock(1, 1, flow.StateCloseWait), fakeSock(2, 2, flow.StateCloseWait)
		b.k.exist(missed, 0)
		b.k.exist(unreadSock(3), time.Hour)
		b.pass(surveyEvery - 25*tick)
		b.k.meanwhile("Survey", func() { b.k.exist(passing, 0) })
		for n := len(b.k.called("Survey")); len(b.k.called("Survey")) == n; {
			b.pass(tick / 2)
		}
		b.k.meanwhile("Survey", nil)
		if _, _, ok := b.k.Recall(missed.Key); !ok {
			t.Error("a socket that the walk came across is not tracked")
		}
		if _, _, ok := b.k.Recall(passing.Key); ok {
			t.Error("a socket that is passing is tracked")
		}
		b.pass((settleTicks + 2) * tick)
		if _, _, ok := b.k.Recall(passing.Key); !ok {
			t.Error("a socket that did not pass is not tracked")
		}
		if n := len(b.k.called("Walk")); n != 1 {
			t.Errorf("%d walks beside the patrols, want that of the start only", n)
		}
		b.pass(time.Minute)
		var opened []string
		for _, f := range b.out.take() {
			if f.Status == finding.Open {
				opened = append(opened, words(&f))
			}
		}
		slices.Sort(opened)
		if want := []string{"open eof_ignored", "open eof_ignored", "open not_reading"}; !slices.Equal(opened, want) {
			t.Errorf("opened %q, want %q", opened, want)
		}
	})
}

// A survey that is due waits for a patrol that is making it, and a hidden
// transition does not.
func TestSurveyBesidePatrol(t *testing.T) {
	a := &Agent{}
	if a.carries(time.Second) {
		t.Error("left to no patrol")
	}
	a.survey = survey{usual: 30 * time.Second, next: time.Minute}
	a.patrol.want.States, a.patrol.next = flow.StateEstablished.Bit(), time.Minute+30*time.Second
	if !a.carries(time.Minute) {
		t.Error("not left to a patrol that comes while it is not twice as late as usual")
	}
	a.patrol.next++
	if a.carries(time.Minute) {
		t.Error("left to a patrol that comes later than that")
	}
	a.patrol.walking = true
	if a.carries(time.Second) {
		t.Error("left to a patrol that is no survey")
	}
	a.patrol.surveys = true
	if !a.carries(time.Second) {
		t.Error("not left to the patrol that makes it")
	}
	a.survey.waiting = true
	if a.carries(time.Second) {
		t.Error("a hidden transition is left to the patrol")
	}
	a.survey.carried(time.Second)
	if !a.survey.waiting {
		t.Error("a hidden transition is forgotten, where the patrol may have passed by before")
	}
}

// Every transition matters while a finding is open, and only then.
func TestFollow(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(time.Second)
		if b.k.follows() {
			t.Error("the second program is wanted though nothing is open")
		}
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.pass(closeAge)
		b.expect(inTime, "open eof_ignored")
		b.pass(2 * tick)
		if !b.k.follows() {
			t.Error("the second program is not wanted though a finding is open")
		}
		b.k.move(1, flow.StateClose, 0)
		b.pass(inTime)
		b.out.take()
		b.pass(2 * tick)
		if b.k.follows() {
			t.Error("the second program is wanted though nothing is open any more")
		}
	})
}

// After a loss a walk leaves nothing to the young generation, whose word may be
// what was lost; and losses that go on put nothing off for ever.
func TestLossTakesWhatPasses(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(20 * tick)
		// Nothing proves how long a close has waited for a window.
		s := fakeSock(1, 1, flow.StateLastAck)
		b.k.exist(s, 0)
		for range 4 {
			b.k.lose(func(l *flow.Losses) { l.RingFull++ })
			b.pass(tick)
		}
		if _, _, ok := b.k.Recall(s.Key); !ok {
			t.Error("not tracked after walks that followed losses")
		}
	})
}

// What was put off is looked at before another walk could put it off again.
func TestSurveyWaitsForWhatItPutOff(t *testing.T) {
	s := survey{waiting: true}
	if !s.due(time.Hour) {
		t.Fatal("not due")
	}
	s.young = []*flow.Sock{{}}
	if s.due(time.Hour) {
		t.Error("due while sockets of the last walk wait to be looked at")
	}
}
