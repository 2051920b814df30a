package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const stallAfter = 15 * time.Second

// unreadSock is a socket in ESTABLISHED whose program does not read.
func unreadSock(addr uint64) flow.Sock {
	s := fakeSock(addr, addr, flow.StateEstablished)
	s.RcvNxt, s.Busy, s.Limits.Probing = 10, -1, -1
	return s
}

// No event tells of it: a patrol finds it in time, its end is told by an event.
func TestStall(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.pass(10 * time.Second)
		b.k.exist(unreadSock(1), 0)
		b.k.exist(fakeSock(2, 2, flow.StateEstablished), time.Hour)
		b.pass(stallAfter - time.Millisecond)
		b.said()
		f := b.expect(stallAfter/patrolParts+2*inTime, "open not_reading")[0]
		if f.SinceExact || f.Duration < stallAfter || f.Duration > stallAfter+inTime || f.Threshold != stallAfter {
			t.Errorf("since %v ago (exact %v), threshold %v", f.Duration, f.SinceExact, f.Threshold)
		}
		b.k.move(1, flow.StateClose, int32(unix.ECONNRESET))
		b.expect(inTime, "resolved reset")
		b.atZero()
	})
}

func TestStallRecovers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.exist(unreadSock(1), time.Hour)
		b.start()
		b.expect(stallAfter+inTime, "open not_reading")
		b.expect(stallAfter+time.Second, "update not_reading")
		b.k.change(1, func(s *flow.Sock) { s.CopiedSeq = s.RcvNxt })
		b.expect(time.Second+inTime, "resolved recovered")
		b.atZero()
		b.expect(time.Minute)
	})
}

// Data that moves while the holders are looked for makes no record.
func TestStallThatEndsWhileItIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.exist(unreadSock(1), time.Hour)
		b.start()
		b.k.meanwhile("Holders", func() {
			b.k.change(1, func(s *flow.Sock) { s.CopiedSeq++ })
		})
		b.expect(stallAfter + inTime)
		b.k.meanwhile("Holders", nil)
		b.expect(stallAfter+2*inTime+stallAfter/patrolParts, "open not_reading")
	})
}

// A walk that takes long keeps nothing from being told in time.
func TestPatrolDelaysNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.steps = 100
		b.k.meanwhile("WalkSome", func() { time.Sleep(2 * time.Millisecond) })
		b.start()
		for i := range uint64(300) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), flow.Task{})
			b.pass(37 * time.Millisecond)
		}
		b.pass(5 * time.Second)
		opened := 0
		for _, f := range b.out.take() {
			if f.Status != finding.Open {
				continue
			}
			opened++
			if late := f.Duration - f.Threshold; late > inTime {
				t.Errorf("opened %v late", late)
			}
		}
		if opened != 300 {
			t.Errorf("opened %d", opened)
		}
	})
}

func TestIdleAudit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.IdleAudit = 30 * time.Minute
		b.k.exist(fakeSock(1, 1, flow.StateEstablished), time.Hour)
		watched := fakeSock(2, 2, flow.StateEstablished)
		watched.Keepalive = true
		b.k.exist(watched, time.Hour)
		b.k.exist(fakeSock(3, 3, flow.StateEstablished), time.Minute)
		b.k.hold(1, task(77), 5)
		b.start()
		b.pass(time.Minute)
		f := b.out.take()
		if len(f) != 1 || f[0].Kind != finding.KindNone || f[0].Sock.Cookie != 1 || f[0].Owner.Process.PID != 77 {
			t.Fatalf("said %+v", f)
		}
		if f[0].Duration < time.Hour || !strings.Contains(f[0].Message, "p77 (pid 77, fd 5)") {
			t.Errorf("for %v: %s", f[0].Duration, f[0].Message)
		}
		// Once as long as it is idle; the other one's time comes.
		b.pass(20 * time.Minute)
		b.said()
		b.pass(20 * time.Minute)
		if f = b.out.take(); len(f) != 1 || f[0].Sock.Cookie != 3 {
			t.Fatalf("said %+v", f)
		}
		b.atZero()
	})
}

// What waits to be sent is measured at each patrol, whether or not it is stuck.
func TestWriteQueuesAreMeasured(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		s := fakeSock(1, 1, flow.StateEstablished)
		s.WriteSeq = 10
		b.k.exist(s, 0)
		b.pass(stallAfter/patrolParts + inTime)
		if b.meter.queues.Sockets != 1 || b.meter.patrols == 0 {
			t.Errorf("%+v after %d patrols", b.meter.queues, b.meter.patrols)
		}
	})
}

// Many are told in portions, and none is forgotten.
func TestIdleAuditIsSpread(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.IdleAudit = 10 * time.Minute
		const many = 3*auditBatch + 7
		for i := range uint64(many) {
			b.k.exist(fakeSock(i+1, i+1, flow.StateEstablished), time.Hour)
		}
		b.start()
		seen := map[string]int{}
		for range 60 {
			b.pass(10 * time.Second)
			said := b.out.take()
			if len(said) > auditBatch {
				t.Errorf("%d records within 10s", len(said))
			}
			for _, f := range said {
				seen[fmt.Sprint(f.Sock.Cookie)]++
			}
		}
		if len(seen) != many {
			t.Errorf("told of %d, want %d", len(seen), many)
		}
	})
}
