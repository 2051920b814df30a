package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// runs makes pid a process that started then, in the bed's proc file system.
func (b *bed) runs(pid uint32, started time.Duration, path string) {
	b.t.Helper()
	dir := filepath.Join(b.cfg.ProcRoot, strconv.Itoa(int(pid)))
	if err := os.RemoveAll(dir); err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	stat := strconv.Itoa(int(pid)) + " (x) S" + strings.Repeat(" 0", 18) + " " + strconv.Itoa(int(started/(10*time.Millisecond))) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "exe")); err != nil {
		b.t.Fatal(err)
	}
}

// Finding the holders takes time: a socket that moved on meanwhile is not
// reported, and its end is nobody's news.
func TestWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.k.meanwhile("Holders", func() { b.k.move(1, flow.StateEstablished, 0) })
		b.expect(time.Minute)
		if len(b.k.called("Holders")) != 1 {
			t.Errorf("%d walks over the descriptors, want one", len(b.k.called("Holders")))
		}
		b.atZero()
	})
}

// The program closes its descriptor while the holders are looked for: who held it
// is not said to hold it.
func TestWithdrawnBecauseItWasClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.runs(30, 400*time.Second, "/srv/api")
		holder := task(30)
		holder.StartBoot = 400 * time.Second
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateFinWait1), holder)
		b.k.hold(1, holder, 14)
		b.k.afterRead(1, func() {
			b.k.change(1, func(s *flow.Sock) { s.HasSocket, s.Dead = false, true })
		})
		b.pass(time.Minute)
		b.k.release()
		f := b.expect(2*time.Second, "open peer_silent")[0]
		if p := f.Owner.Process; p.Relation != finding.RelationCloser || p.PID != 30 || p.FD != -1 {
			t.Errorf("named %+v: %s", p, f.Message)
		}
	})
}

// Another socket has the address by the time the holders are found.
func TestWithdrawnRecycled(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.k.meanwhile("Holders", func() {
			b.k.meanwhile("Holders", nil)
			b.k.move(1, flow.StateClose, int32(unix.ECONNREFUSED))
			b.k.enter(fakeSock(1, 2, flow.StateSynSent), flow.Task{})
		})
		b.pass(4 * time.Second)
		f := b.expect(4*time.Second, "open no_reply")[0]
		if f.Sock.Cookie != 2 || f.Duration < 3*time.Second {
			t.Errorf("opened cookie %d after %v", f.Sock.Cookie, f.Duration)
		}
	})
}

// An update that was withdrawn after its reason changed must not unbalance what
// is counted by reason.
func TestWithdrawnUpdate(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.pass(closeAge)
		b.expect(inTime, "open eof_ignored")
		b.k.change(1, func(s *flow.Sock) { s.RcvNxt = 100 })
		b.k.meanwhile("Holders", func() { b.k.move(1, flow.StateClose, int32(unix.EPIPE)) })
		f := b.expect(2*time.Second, "resolved reset")[0]
		if f.Reason != finding.EOFIgnored {
			t.Errorf("resolved as %v, which was never said", f.Reason)
		}
		b.atZero()
	})
}

func TestReasonChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.pass(closeAge)
		open := b.expect(inTime, "open eof_ignored")[0]
		b.k.change(1, func(s *flow.Sock) { s.RcvNxt = 100 })
		update := b.expect(2*time.Second, "update eof_unread")[0]
		if update.ID != open.ID || !update.Since.Equal(open.Since) || !update.Live || !strings.Contains(update.Message, "99 bytes") {
			t.Errorf("%+v", update)
		}
		b.k.change(1, func(s *flow.Sock) { s.CopiedSeq = 100 })
		b.expect(2*time.Second, "update eof_ignored")
		b.k.move(1, flow.StateLastAck, 0)
		b.expect(inTime, "resolved closed")
		b.k.move(1, flow.StateClose, 0)
		b.pass(time.Second)
		b.atZero()
	})
}

// The values in a record are those of the moment it is written.
func TestRecordsAreOfTheirMoment(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), flow.Task{})
		b.k.meanwhile("Holders", func() {
			time.Sleep(50 * time.Millisecond)
			b.k.change(1, func(s *flow.Sock) { s.Retransmits = 2 })
		})
		f := b.expect(4*time.Second, "open no_reply")[0]
		if f.Sock.Retransmits != 2 || !strings.Contains(f.Message, "3 SYNs sent") {
			t.Errorf("%d retransmissions: %s", f.Sock.Retransmits, f.Message)
		}
		if f.Time.Sub(f.Since) != f.Duration {
			t.Errorf("since %v before it was written, for %v", f.Time.Sub(f.Since), f.Duration)
		}
	})
}

// Each gap between two lines is at least double the one before, also where finding
// the holders takes now long, now short.
func TestGapsBetweenUpdatesDouble(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		slow := false
		b.k.meanwhile("Holders", func() {
			if slow = !slow; slow {
				time.Sleep(500 * time.Millisecond)
			}
		})
		b.pass(100 * closeAge)
		b.k.meanwhile("Holders", nil)
		all := b.out.take()
		if len(all) < 5 {
			t.Fatalf("%d records", len(all))
		}
		for i, f := range all[2:] {
			gap, before := f.Time.Sub(all[i+1].Time), all[i+1].Time.Sub(all[i].Time)
			if gap < 2*before || f.Duration-all[i+1].Duration < 2*before {
				t.Errorf("%v after the last record, which came %v after its own", gap, before)
			}
		}
	})
}

// What is resolved names who was found last; who held it last
// stays known through all updates.
func TestOwners(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.runs(30, 400*time.Second, "/srv/api")
		holder := task(30)
		holder.StartBoot = 400 * time.Second
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.k.hold(1, holder, 14)
		b.pass(closeAge)
		f := b.expect(inTime, "open eof_ignored")[0]
		if p := f.Owner.Process; p.PID != 30 || p.FD != 14 || p.Path != "/srv/api" || f.Owner.Total != 1 || !strings.Contains(f.Message, "api (pid 30, fd 14)") {
			t.Errorf("held by %+v: %s", p, f.Message)
		}
		b.k.release()
		for range 3 {
			b.pass(closeAge)
			for _, f := range b.out.take() {
				// Nobody closed it: its descriptor is in flight.
				p := f.Owner.Process
				if p.PID != 30 || p.Relation != finding.RelationLastHolder || !strings.Contains(f.Message, "no process holds a descriptor") {
					t.Errorf("%s names %+v: %s", words(&f), p, f.Message)
				}
			}
		}
		b.pass(4 * time.Minute)
		b.out.take()
		b.k.move(1, flow.StateClose, int32(unix.EPIPE))
		f = b.expect(inTime, "resolved reset")[0]
		if p := f.Owner.Process; p.PID != 30 || p.Path != "/srv/api" || f.Live {
			t.Errorf("resolved (live %v) names %+v", f.Live, p)
		}
	})
}

// Who connected is known from the kernel; who has its pid by now is not meant.
func TestOpenersPidIsReused(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.runs(42, uptime-time.Minute, "/usr/bin/curl")
		b.k.enter(fakeSock(1, 1, flow.StateSynSent), task(42))
		b.k.enter(fakeSock(2, 2, flow.StateSynSent), task(43))
		b.pass(time.Second)
		b.runs(43, uptime+time.Second, "/usr/bin/innocent")
		b.pass(2 * time.Second)
		for _, f := range b.expect(inTime, "open no_reply", "open no_reply") {
			p := f.Owner.Process
			switch f.Sock.Cookie {
			case 1:
				if p.PID != 42 || p.Path != "/usr/bin/curl" || p.Relation != finding.RelationConnector {
					t.Errorf("still the same process: %+v", p)
				}
			case 2:
				if p.PID != 0 || p.Path != "" || p.Comm != "p43" {
					t.Errorf("another process has its pid: %+v", p)
				}
			}
		}
	})
}

// Somebody sets the clock: the beginning of a finding stays the same, and ages
// do not care.
func TestClockSteps(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		b.k.enter(fakeSock(1, 1, flow.StateCloseWait), flow.Task{})
		b.pass(closeAge)
		since := b.expect(inTime, "open eof_ignored")[0].Since
		b.setClock(-48 * time.Hour)
		b.pass(closeAge)
		f := b.said("update eof_ignored")[0]
		if !f.Since.Equal(since) || f.Duration < 2*closeAge || f.Duration > 2*closeAge+inTime {
			t.Errorf("since %v for %v, opened since %v", f.Since, f.Duration, since)
		}
		b.setClock(96 * time.Hour)
		b.k.move(1, flow.StateLastAck, 0)
		f = b.expect(inTime, "resolved closed")[0]
		if !f.Since.Equal(since) || f.Duration < 2*closeAge || f.Duration > 2*closeAge+2*inTime {
			t.Errorf("resolved since %v for %v, opened since %v", f.Since, f.Duration, since)
		}
	})
}

// One walk over all descriptors serves all that is said together.
func TestOneWalkForMany(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.start()
		for i := range uint64(500) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), flow.Task{})
		}
		b.pass(3*time.Second + inTime)
		if n := len(b.out.take()); n != 500 {
			t.Fatalf("%d findings, want 500", n)
		}
		if n := len(b.k.called("Holders")); n != 1 {
			t.Errorf("%d walks over the descriptors", n)
		}
	})
}

// The role of a socket that was there before is known by who listens.
func TestRoleIsLearned(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		s := fakeSock(1, 1, flow.StateCloseWait)
		s.Role = flow.RoleUnknown
		b.k.exist(s, time.Hour)
		b.k.held = append(b.k.held, flow.Held{
			Key: flow.Key{Addr: 99, Cookie: 99}, State: flow.StateListen, Local: s.Local, NetNS: s.NetNS, Holder: flow.Holder{Task: task(7), FD: 3},
		})
		b.start()
		if f := b.said("open eof_ignored")[0]; f.Sock.Role != flow.RoleServer {
			t.Errorf("a %v", f.Sock.Role)
		}
		b.pass(20 * time.Second)
		b.k.release()
		b.k.move(1, flow.StateClose, 0)
		if f := b.expect(inTime, "resolved closed")[0]; f.Sock.Role != flow.RoleServer {
			t.Errorf("resolved as a %v", f.Sock.Role)
		}
	})
}

// Where a walk over all descriptors is dear, a slow trickle of findings shares
// them; none is forgotten.
func TestHolderWalksAreBounded(t *testing.T) {
	const cost = 100 * time.Millisecond
	inBubble(t, func(t *testing.T, b *bed) {
		b.k.meanwhile("Holders", func() { time.Sleep(cost) })
		b.start()
		const sockets = 200
		for i := range uint64(sockets) {
			b.k.enter(fakeSock(i+1, i+1, flow.StateSynSent), flow.Task{})
			b.pass(50 * time.Millisecond)
		}
		// 10 s, and what the walks before the first finding took.
		if n := len(b.k.called("Holders")); time.Duration(n)*cost > 10*time.Second/holderShare {
			t.Errorf("%d walks of %v in 10 s", n, cost)
		}
		b.pass(5 * time.Second)
		seen := map[uint64]int{}
		for _, f := range b.out.take() {
			if f.Status == finding.Open {
				seen[f.Sock.Cookie]++
			}
			if late := f.Duration - f.Threshold; f.Status == finding.Open && late > inTime+holderShare*cost+cost {
				t.Errorf("opened %v late", late)
			}
		}
		if len(seen) != sockets {
			t.Errorf("%d of %d sockets are told of", len(seen), sockets)
		}
	})
}
