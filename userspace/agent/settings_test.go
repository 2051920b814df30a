package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

func executable(name string) rules.Match {
	return rules.Match{Executables: []rules.Glob{rules.Glob(name)}}
}

// by is a threshold for one kind.
func by(k finding.Kind, d time.Duration) (t [finding.KindCount]*time.Duration) {
	t[k] = &d
	return t
}

// stuck makes a socket in CLOSE_WAIT now that the program holds.
func (b *bed) stuck(addr uint64, path string) {
	pid := uint32(100 + addr)
	b.runs(pid, 400*time.Second, path)
	holder := task(pid)
	holder.StartBoot = 400 * time.Second
	b.k.enter(fakeSock(addr, addr, flow.StateCloseWait), task(pid))
	b.k.hold(addr, holder, 5)
}

// Each socket is told of in time by its own threshold, never before.
func TestRules(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Rules.Rules = []rules.Rule{
			{Match: executable("soon"), Threshold: by(finding.CloseWaitSilent, 5*time.Second)},
			{Match: executable("late"), Threshold: by(finding.CloseWaitSilent, time.Minute)},
			{Match: executable("never"), Ignore: true},
		}
		b.start()
		b.stuck(1, "/bin/soon")
		b.stuck(2, "/bin/late")
		b.stuck(3, "/bin/never")
		b.stuck(4, "/bin/other")
		begin := b.k.boot()
		at := func(after time.Duration, addr uint64, path string) {
			t.Helper()
			b.pass(begin + after - time.Millisecond - b.k.boot())
			b.said()
			f := b.expect(inTime, "open eof_ignored")[0]
			if f.Threshold != after || f.Owner.Process.Path != path || f.Duration < after || f.Duration > after+inTime {
				t.Errorf("%s after %v by %v, want %s after %v", f.Owner.Process.Path, f.Duration, f.Threshold, path, after)
			}
			b.k.move(addr, flow.StateClose, 0)
			b.expect(inTime, "resolved closed")
		}
		at(5*time.Second, 1, "/bin/soon")
		at(30*time.Second, 4, "/bin/other")
		at(time.Minute, 2, "/bin/late")
		b.pass(time.Hour)
		b.said()
		b.atZero()
		if len(b.meter.delays) != 3 {
			t.Errorf("%d delays were measured, want 3", len(b.meter.delays))
		}
		for _, d := range b.meter.delays {
			if d < 0 || d > inTime {
				t.Errorf("a delay of %v was measured", d)
			}
		}
	})
}

// Where the owner makes no difference nobody looks for one.
func TestRulesBySocketAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Rules.Rules = []rules.Rule{
			{Match: rules.Match{PeerPorts: []rules.PortRange{{First: 443, Last: 443}}}, Ignore: true},
			{Match: rules.Match{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Threshold: by(finding.CloseWaitSilent, time.Second)},
		}
		b.start()
		b.stuck(1, "/bin/any")
		b.pass(time.Hour)
		b.said()
		if n := len(b.k.called("Holders")) + len(b.k.called("Facing")); n != 0 {
			t.Errorf("looked for owners %d times", n)
		}
		b.atZero()
	})
}

// An ignored socket is not asked about again, until its state or the rules change.
func TestIgnoredIsNotAskedAboutAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		reload := make(chan *Settings)
		b.cfg.Reload = reload
		b.cfg.Rules.Rules = []rules.Rule{{Match: executable("never"), Ignore: true}}
		b.start()
		b.stuck(1, "/bin/never")
		b.pass(time.Hour)
		b.said()
		if n := len(b.k.called("Holders")); n != 1 {
			t.Errorf("%d walks over the descriptors, want one", n)
		}
		other := b.cfg.Settings
		other.Rules.Rules = nil
		reload <- &other
		b.expect(inTime, "open eof_ignored")
		b.k.move(1, flow.StateClose, 0)
		b.expect(inTime, "resolved closed")
		b.atZero()
	})
}

// Other thresholds hold at once, for what is stuck already too. What is open stays.
func TestReload(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		reload := make(chan *Settings)
		b.cfg.Reload = reload
		b.start()
		b.stuck(1, "/bin/a")
		b.pass(10 * time.Second)
		next := b.cfg.Settings
		next.Rules.Base[finding.CloseWaitSilent] = 12 * time.Second
		next.Tick = 100 * time.Millisecond
		reload <- &next
		b.pass(2*time.Second - time.Millisecond)
		b.said()
		f := b.expect(200*time.Millisecond, "open eof_ignored")[0]
		if f.Threshold != 12*time.Second {
			t.Errorf("opened by %v", f.Threshold)
		}
		longer := next
		longer.Rules.Base[finding.CloseWaitSilent] = time.Hour
		reload <- &longer
		b.stuck(2, "/bin/b")
		b.expect(12*time.Second, "update eof_ignored")
		b.k.move(1, flow.StateClose, 0)
		b.expect(200*time.Millisecond, "resolved closed")
		b.pass(time.Hour - 13*time.Second)
		b.said()
		b.expect(time.Second, "open eof_ignored")
	})
}

// The rule is decided when the finding would open, not when the socket got stuck: who
// was given the descriptor meanwhile counts.
func TestRuleOfALaterHolder(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Rules.Rules = []rules.Rule{
			{Match: executable("early"), Threshold: by(finding.CloseWaitSilent, 10*time.Second)},
			{Match: executable("never"), Ignore: true},
		}
		b.start()
		b.stuck(1, "/bin/early")
		b.pass(9 * time.Second)
		b.k.release()
		b.runs(200, 400*time.Second, "/bin/never")
		holder := task(200)
		holder.StartBoot = 400 * time.Second
		b.k.hold(1, holder, 7)
		b.pass(time.Hour)
		b.said()
	})
}

// The patrol follows the thresholds of ESTABLISHED.
func TestReloadOfStalls(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		reload := make(chan *Settings)
		b.cfg.Reload = reload
		b.cfg.Rules.Base[finding.EstablishedStalled] = time.Hour
		b.k.exist(unreadSock(1), 0)
		b.start()
		b.pass(10 * time.Minute)
		b.said()
		next := b.cfg.Settings
		next.Rules.Base[finding.EstablishedStalled] = 15 * time.Second
		reload <- &next
		f := b.expect(stallAfter/patrolParts+inTime, "open not_reading")[0]
		if f.Threshold != 15*time.Second || f.Duration < 9*time.Minute {
			t.Errorf("opened by %v after %v", f.Threshold, f.Duration)
		}
	})
}

// The loop tells that it comes round, at least once a tick.
func TestBeat(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		beats := 0
		b.cfg.Beat = func() { beats++ }
		b.start()
		b.pass(10 * time.Second)
		if beats < int(10*time.Second/tick) {
			t.Errorf("%d beats in 10s", beats)
		}
	})
}
