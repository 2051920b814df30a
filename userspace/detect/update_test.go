package detect

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestUpdates(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	var said []time.Duration
	for l.now < born+1000*second {
		// Looks come at any time and a little late; each gap is still at least double.
		l.now += 777 * time.Millisecond
		l.look()
		for _, v := range l.verdicts() {
			if words(&v) != "update eof_ignored" {
				t.Fatalf("said %q", words(&v))
			}
			said = append(said, v.At-born)
		}
	}
	if len(said) != 5 {
		t.Fatalf("updates at %v, want five in 1000 s", said)
	}
	last, gap := 30*second, 15*second
	for i, at := range said {
		if at-last < 2*gap {
			t.Errorf("update %d came %v after the last, want at least %v (%v)", i, at-last, 2*gap, said)
		}
		last, gap = at, at-last
	}
}

// What counts is when a line was written, which takes its time on a busy host.
func TestUpdatesThatAreWrittenLate(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.now = born + 30*second
	var written []time.Duration
	for late := 10 * second; len(written) < 6; late = (late * 7) % (11 * second) {
		l.look()
		for _, v := range l.verdicts() {
			l.now += late
			l.d.Told(&v, l.now)
			written = append(written, l.now)
		}
		l.now += 777 * time.Millisecond
	}
	if gap := written[1] - written[0]; gap < 30*second {
		t.Errorf("the first update came %v after the open", gap)
	}
	for i := 2; i < len(written); i++ {
		if gap, before := written[i]-written[i-1], written[i-1]-written[i-2]; gap < 2*before {
			t.Errorf("update %d came %v after the last, and that %v after its own", i, gap, before)
		}
	}
}

func TestUpdateWhenTheReasonChanges(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	s.RcvNxt = 100
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_unread")
	l.change(s.Addr, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
	v := l.at(born+31*second, "update eof_ignored")[0]
	if v.Sock.CopiedSeq != 100 {
		t.Error("the update does not hold the values of its moment")
	}
	l.at(born + 32*second)
	// Changed and due at once: said once.
	l.change(s.Addr, func(s *flow.Sock) { s.LastSend = second })
	l.at(born+60*second, "update still_sending")
	l.at(born + 61*second)
	l.now = born + 62*second
	l.moved(s.Addr, flow.StateLastAck)
	if v := l.at(l.now, "resolved closed")[0]; v.Reason != finding.StillSending {
		t.Errorf("resolved as %v, want the last reason", v.Reason)
	}
}

// A program that sends now and then is not told to have stopped in each pause.
func TestSendingNowAndThenDoesNotFlap(t *testing.T) {
	l := newLab(t, testThreshold)
	s := socket(0x100, 7, flow.StateCloseWait)
	l.put(s)
	l.promoted(s, born)
	l.at(born+30*second, "open eof_ignored")
	var said []string
	var at []time.Duration
	look := func(lastSend time.Duration) {
		l.change(s.Addr, func(s *flow.Sock) { s.LastSend = lastSend })
		l.now += second
		l.look()
		for _, v := range l.verdicts() {
			if v.Reason != finding.EOFIgnored || v.was != finding.EOFIgnored {
				said, at = append(said, words(&v)), append(at, l.now)
			}
		}
	}
	// Every 70 s, for a day: longer than the threshold, and than twice that.
	const day = 24 * time.Hour
	for sent := l.now; l.now < born+day; {
		if l.now-sent >= 70*second {
			sent = l.now
		}
		look(l.now - sent)
	}
	changes := 0
	for i := 1; i < len(said); i++ {
		if said[i] != said[i-1] {
			changes++
		}
	}
	if changes > 2 || said[len(said)-1] != "update still_sending" {
		t.Errorf("%d changes of mind in a day: %q at %v", changes, said, at)
	}
	// It stops for good. A retransmission proves nothing; silence does.
	l.change(s.Addr, func(s *flow.Sock) { s.Retransmits = 3 })
	said = nil
	for quiet := second; quiet < 100*second; quiet += second {
		look(quiet)
	}
	if slices.Contains(said, "update eof_ignored") {
		t.Errorf("%q while it retransmits", said)
	}
	l.change(s.Addr, func(s *flow.Sock) { s.Retransmits = 0 })
	for quiet := 100 * second; quiet < 300*second; quiet += second {
		look(quiet)
	}
	if !slices.Contains(said, "update eof_ignored") {
		t.Errorf("silent for five minutes, said %q", said)
	}
}

// Open findings are read often enough to see a change, and not more often than
// the budget allows however many there are.
func TestPollingIsBounded(t *testing.T) {
	const sockets = 3 * pollRate
	l := newLab(t, testThreshold)
	for i := range uint64(sockets) {
		s := socket(0x100+i, 1+i, flow.StateCloseWait)
		l.put(s)
		l.promoted(s, born)
	}
	l.now = born + 30*second
	l.look()
	if n := len(l.verdicts()); n != sockets {
		t.Fatalf("%d findings, want %d", n, sockets)
	}
	l.reads = 0
	const span = 20 * second
	for l.now < born+30*second+span {
		l.now += tick
		l.look()
	}
	if rate := l.reads / int(span/second); rate < pollRate/2 || rate > pollRate*11/10 {
		t.Errorf("%d readings a second, want about %d", rate, pollRate)
	}
	checkDetector(t, l.d)
}
