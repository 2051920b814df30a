package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// closed replaces the FIN_WAIT2 socket at the address by a minisocket at
// another one, as close does.
func (l *lab) closed(addr, successor uint64, expires time.Duration) {
	s := l.live[addr]
	tw := minisocket(successor, s.Cookie, expires)
	tw.ID = s.ID
	tw.Addr = successor
	l.put(tw)
	l.moved(addr, flow.StateClose, func(e *flow.Event) { e.Successor, e.Orphan = successor, true })
}

func TestMinisocketSucceeds(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait1)
	l.put(s)
	l.promoted(s, born)
	l.now = born + second
	l.moved(s.Addr, flow.StateFinWait2)
	open := l.at(born+31*second, "open half_closed")[0]
	l.now = born + 40*second
	l.closed(s.Addr, 0x200, 60*second)
	v := l.at(l.now, "update orphaned")[0]
	if v.ID != open.ID || v.Since != open.Since || v.Sock.Addr != 0x200 || !v.Sock.TimeWait {
		t.Errorf("the update is %q since %v of %#x", v.ID, v.Since-born, v.Sock.Addr)
	}
	l.watched(1, 1)
	if len(l.d.entries) != 1 || l.d.entries[0x200] == nil {
		t.Errorf("known by %v, want by the minisocket's address", l.d.entries)
	}
	// Its time is known from when it was read.
	l.drop(0x200)
	l.at(born+50*second, "resolved reset")
}

func TestMinisocketSucceedsBeforeTheThreshold(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait2)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 10*second
	l.closed(s.Addr, 0x200, 60*second)
	l.at(born + 30*second - 1)
	l.at(born+30*second, "open orphaned")
	// The first address may serve another connection at once.
	next := socket(0x100, 8, flow.StateSynSent)
	l.put(next)
	l.promoted(next, l.now)
	l.watched(2, 1)
	l.at(l.now+3*second, "open no_reply")
}

// The memory of the minisocket belonged to another one, whose end nobody saw.
func TestSuccessorAtAnOldAddress(t *testing.T) {
	l := newLab(t, testThreshold)
	old := minisocket(0x200, 5, 60*second)
	l.put(old)
	l.promoted(old, born-second)
	s := socket(0x100, 7, flow.StateFinWait2)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open orphaned", "open half_closed")
	l.closed(s.Addr, old.Addr, 60*second)
	l.at(l.now, "resolved unknown", "update orphaned")
	l.watched(1, 1)
}

func TestMinisocketEnds(t *testing.T) {
	const left = 20 * second
	tests := []struct {
		name string
		// after is when it is seen to be gone, counted from the opening.
		after time.Duration
		want  string
	}{
		{"at its time", left, "resolved timed_out"},
		{"at its time, rounded down", left - endMargin, "resolved timed_out"},
		{"before its time", left - endMargin - second, "resolved reset"},
		{"at once", second, "resolved reset"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := minisocket(0x100, 7, left)
			l.put(s)
			l.promoted(s, born, func(e *flow.Event) { e.TimeWait, e.Orphan = true, true })
			opened := born + 30*second
			l.at(opened, "open orphaned")
			for l.now += tick; l.now < opened+tt.after; l.now += tick {
				l.change(s.Addr, func(s *flow.Sock) { s.Expires = opened + left - l.now })
				l.at(l.now)
			}
			l.drop(s.Addr)
			l.now = opened + tt.after
			l.d.Suspect(l.now)
			l.at(l.now, tt.want)
			l.watched(0, 0)
		})
	}
}

// The slab gives its memory on before anybody looks again: how it ended is known
// all the same.
func TestMinisocketsMemoryIsUsedAgain(t *testing.T) {
	for after, want := range map[time.Duration]string{20 * second: "resolved timed_out", 5 * second: "resolved reset"} {
		for _, found := range []bool{false, true} {
			l := newLab(t, testThreshold)
			s := minisocket(0x100, 7, 20*second)
			l.put(s)
			l.promoted(s, born, func(e *flow.Event) { e.TimeWait, e.Orphan = true, true })
			l.at(born+30*second, "open orphaned")
			l.now += after
			next := minisocket(0x100, 8, 60*second)
			l.put(next)
			if found {
				l.found(next.Addr, 0)
			} else {
				l.promoted(next, l.now, func(e *flow.Event) { e.TimeWait, e.Orphan = true, true })
			}
			l.at(l.now, want)
			l.watched(1, 0)
		}
	}
}

// The peer finished after all: what stays is TIME_WAIT, which is healthy.
func TestMinisocketThatFinishes(t *testing.T) {
	l := newLab(t, testThreshold)
	s := minisocket(0x100, 7, 60*second)
	l.put(s)
	l.promoted(s, born, func(e *flow.Event) { e.TimeWait, e.Orphan = true, true })
	l.at(born+30*second, "open orphaned")
	l.change(s.Addr, func(s *flow.Sock) { s.State = flow.StateTimeWait })
	l.at(born+31*second, "resolved closed")
	l.watched(0, 0)
}

// A minisocket that was never read had no time to time out, as far as is known.
func TestMinisocketGoneBeforeItWasRead(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateFinWait2)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open half_closed")
	l.closed(s.Addr, 0x200, 60*second)
	l.drop(0x200)
	l.at(l.now, "resolved unknown")
}

// Unflagged ones end without a word.
func TestMinisocketGoneUnflagged(t *testing.T) {
	l := newLab(t, testThreshold)
	s := minisocket(0x100, 7, 10*second)
	l.put(s)
	l.promoted(s, born, func(e *flow.Event) { e.TimeWait, e.Orphan = true, true })
	l.drop(s.Addr)
	l.at(born + 30*second)
	l.watched(0, 0)
}

// The event of the close is lost, and a walk comes across the minisocket: it is
// the same finding that goes on, not a second one with the same id.
func TestSuccessorFoundByAWalk(t *testing.T) {
	for name, suspectFirst := range map[string]bool{"walk first": false, "reading first": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, flow.StateFinWait2)
			l.put(s)
			l.promoted(s, born)
			open := l.at(born+30*second, "open half_closed")[0]
			tw := minisocket(0x200, 7, 40*second)
			tw.ID = s.ID
			tw.Addr = 0x200
			l.drop(s.Addr)
			l.put(tw)
			l.now += second
			if suspectFirst {
				l.d.Suspect(l.now)
				l.at(l.now)
			}
			// The old generation handed the beginning on to the minisocket.
			l.found(tw.Addr, born)
			l.d.Suspect(l.now)
			openNow := map[string]bool{open.ID: true}
			for range 40 {
				l.now += tick
				l.look()
				for _, v := range l.verdicts() {
					switch v.Status {
					case finding.Open:
						if openNow[v.ID] {
							t.Fatalf("%q is opened twice", v.ID)
						}
						openNow[v.ID] = true
					case finding.Resolved:
						if !openNow[v.ID] {
							t.Fatalf("%q is resolved twice", v.ID)
						}
						delete(openNow, v.ID)
					case finding.Update, finding.StatusCount:
					}
				}
			}
			if len(openNow) != 1 {
				t.Errorf("%d findings are open, want 1", len(openNow))
			}
			l.watched(1, 1)
		})
	}
}

// The walk runs while the event of the close is on its way.
func TestWalkBeforeTheEventOfTheClose(t *testing.T) {
	for name, flagged := range map[string]bool{"before the threshold": false, "at the threshold": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, testThreshold)
			s := socket(0x100, 7, flow.StateFinWait2)
			l.put(s)
			l.promoted(s, born)
			tw := minisocket(0x200, 7, 60*second)
			tw.ID = s.ID
			tw.Addr = 0x200
			l.drop(s.Addr)
			l.put(tw)
			l.now = born + 20*second
			l.found(tw.Addr, born)
			if flagged {
				l.at(born+30*second, "open orphaned")
			}
			l.d.Event(&flow.Event{
				Kind: flow.EventTransition, Time: l.now, ID: s.ID, Old: s.State, New: flow.StateClose, Successor: tw.Addr, Orphan: true,
			})
			if flagged {
				l.at(l.now)
			} else {
				l.at(born+30*second, "open orphaned")
			}
			l.watched(1, 1)
		})
	}
}

// On 5.10 and 5.11 a promotion knows neither cookie nor addresses: the socket
// is read at once, before its memory serves another one.
func TestPromotedWithoutIdentity(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 0, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	if next, _ := l.d.Next(); next > l.now {
		t.Errorf("read in %v, want at once", next-l.now)
	}
	l.at(born + tick)
	if got := l.d.entries[s.Addr].sock.Peer; l.reads != 1 || got != s.Peer {
		t.Errorf("%d readings, the peer is %v; want one and %v", l.reads, got, s.Peer)
	}
	// The address goes to another connection: not this one's finding.
	other := s
	other.ID = identity(0x101, 0)
	other.Addr = s.Addr
	l.put(other)
	l.at(born + 30*second)
	l.at(born + 31*second)
	l.watched(0, 0)
}

func TestPromotedWithoutIdentityAndGone(t *testing.T) {
	l := newLab(t, testThreshold)
	l.promoted(socket(0x100, 0, flow.StateCloseWait), born)
	l.at(born)
	l.at(born + 2*tick)
	l.watched(0, 0)
}

// A cookie that is made later does not make another socket of it.
func TestCookieIsLearned(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 0, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	open := l.at(born+30*second, "open eof_ignored")[0]
	l.change(s.Addr, func(s *flow.Sock) { s.Cookie = 7 })
	l.at(born + 31*second)
	if v := l.at(born+60*second, "update eof_ignored")[0]; v.ID != open.ID || v.Sock.Cookie != 7 {
		t.Errorf("updated %q with cookie %d", v.ID, v.Sock.Cookie)
	}
	l.moved(s.Addr, flow.StateClose)
	if v := l.at(l.now, "resolved closed")[0]; v.ID != open.ID {
		t.Errorf("resolved %q", v.ID)
	}
}

// Read before its threshold for another reason, a socket is not flagged then.
func TestReadEarly(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 0, flow.StateCloseWait)
	l.put(s)
	l.now = born + 30*second - 1
	l.promoted(s, born)
	l.at(l.now)
	if l.reads != 1 {
		t.Errorf("%d readings, want 1", l.reads)
	}
	l.at(born+30*second, "open eof_ignored")
}
