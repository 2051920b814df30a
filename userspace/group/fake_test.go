package group

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// bench is a Grouper with a clock of its own, and takes what it says.
type bench struct {
	t     *testing.T
	now   time.Duration
	g     *Grouper
	plain map[finding.Status]int
	// groups are the last records by id; lines counts all.
	groups map[string]finding.Group
	said   []finding.Group
	open   map[string]*finding.Finding
}

func newBench(t *testing.T, above int) *bench {
	b := &bench{
		t: t, now: time.Hour, plain: map[finding.Status]int{}, groups: map[string]finding.Group{},
		open: map[string]*finding.Finding{},
	}
	b.g = New(above, func() time.Duration { return b.now }, b)
	return b
}

func (b *bench) Finding(f *finding.Finding)     { b.plain[f.Status]++ }
func (b *bench) Loss(*finding.Loss)             {}
func (b *bench) WriteQueue(*finding.WriteQueue) {}

func (b *bench) Group(g *finding.Group) {
	b.t.Helper()
	last, ok := b.groups[g.ID]
	switch {
	case ok && last.Status == finding.Resolved:
		b.t.Errorf("group %s goes on after it was resolved", g.ID)
	case ok && g.Status == finding.Open, !ok && g.Status == finding.Update:
		b.t.Errorf("group %s is %s", g.ID, g.Status)
	case g.Opened < last.Opened, g.Resolved < last.Resolved, g.Resolved > g.Opened, g.Opened == 0:
		b.t.Errorf("group %s opened %d resolved %d after %d %d", g.ID, g.Opened, g.Resolved, last.Opened, last.Resolved)
	case (g.Status == finding.Resolved) != (g.Opened == g.Resolved):
		b.t.Errorf("group %s is %s with %d opened and %d resolved", g.ID, g.Status, g.Opened, g.Resolved)
	}
	for _, id := range g.Samples {
		if b.open[id] == nil {
			b.t.Errorf("group %s: the sample %s is not open", g.ID, id)
		}
	}
	b.groups[g.ID] = *g
	b.said = append(b.said, *g)
}

func (b *bench) after(d time.Duration) {
	b.now += d
	b.g.Tick(b.now, time.Unix(0, int64(b.now)), false)
}

func (b *bench) end() { b.g.Tick(b.now, time.Unix(0, int64(b.now)), true) }

func (b *bench) opens(f finding.Finding) {
	f.Status = finding.Open
	b.open[f.ID] = &f
	b.g.Finding(&f)
}

func (b *bench) resolves(id string) {
	f := *b.open[id]
	delete(b.open, id)
	f.Status = finding.Resolved
	b.g.Finding(&f)
}

// sums checks that printed records and the groups' counts are all there were.
func (b *bench) sums(opened, resolved int) {
	b.t.Helper()
	for _, g := range b.groups {
		opened -= int(g.Opened)
		resolved -= int(g.Resolved)
	}
	if opened != b.plain[finding.Open] || resolved != b.plain[finding.Resolved] {
		b.t.Errorf("printed %d opened and %d resolved, want %d and %d", b.plain[finding.Open], b.plain[finding.Resolved], opened, resolved)
	}
}

func leaked(n int, age time.Duration) finding.Finding {
	return finding.Finding{
		ID: fmt.Sprintf("%020x", n), Kind: finding.CloseWaitSilent, Reason: finding.EOFIgnored, Duration: age,
		Sock: flow.Sock{ID: flow.ID{
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(32768+n%20000)),
			Peer:  netip.MustParseAddrPort("10.0.0.5:443"),
		}, Role: flow.RoleClient, State: flow.StateCloseWait},
		Owner: finding.Owner{Process: finding.Process{
			Task: flow.Task{PID: 812, Comm: "api"}, Executable: "api", Path: "/srv/api", Relation: finding.RelationHolder,
		}},
	}
}
