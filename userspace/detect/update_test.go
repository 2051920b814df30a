package detect

import (
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
