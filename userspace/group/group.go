// Package group makes one record of many findings that are alike: of one leak. It
// stands between the agent and the sinks; what it holds back it counts, so that
// records and counts always add up to all findings.
package group

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Output takes records.
type Output interface {
	Finding(f *finding.Finding)
	Loss(l *finding.Loss)
	WriteQueue(w *finding.WriteQueue)
	Group(g *finding.Group)
}

const (
	// pace is the least time between two records of one leak, and how long after
	// the first the second comes; each time after that is twice as long, up to
	// slowest, or to slow while something opens or resolves.
	pace    = 10 * time.Second
	slow    = time.Minute
	slowest = time.Hour
	// manyServices is how many times the bound may be printed of one program's
	// connections to different services; a scan is one leak too.
	manyServices = 5
	// leaksMax bounds the memory for leaks, some 500 bytes each. What comes beyond
	// is grouped more coarsely.
	leaksMax = 4096
)

// Grouper passes findings on one by one as long as few are alike. It is used by
// one goroutine.
type Grouper struct {
	above int
	clock func() time.Duration
	out   Output
	seed  maphash.Seed

	members map[uint64]member
	leaks   map[signature]*leak
	// stacks are those of leaks, by all else that they have in common.
	stacks map[signature]uint64
	record finding.Group
	// began is when the first tick was: the agent had looked at what was there.
	began time.Duration
}

// member is an open finding; there may be 100,000.
type member struct {
	leak *leak
	// since is when it entered its state, in tenths of a second since boot.
	since   int32
	printed bool
	// exact is false where since is a bound.
	exact bool
}

// leak is a set of findings that are alike.
type leak struct {
	signature
	// family are those alike but for the service, nil of a family itself; members
	// are the leaks of a family.
	family  *leak
	members int
	id      string
	// printed are open with records of their own; opened and resolved had none.
	printed          int
	opened, resolved uint64
	samples          []string
	process          finding.Process
	workload         *finding.Workload
	stack            *finding.Stack

	// tokens are how many more may be printed; they come back, as many a minute as
	// are allowed at once. filled is when they were counted last.
	tokens float64
	filled time.Duration

	// told: there is a record of the leak that is not its last. said: there is any,
	// saidAt is when it was written. fresh: something has changed since.
	told, said, fresh bool
	saidAt, every     time.Duration
	// inherited are those opened that were there when the grouper began. grown is
	// the count without them at the record that growth is measured from, of grownAt.
	inherited, grown int
	grownAt          time.Duration
}

// New returns a Grouper that passes on at most above findings alike; 0: all. clock
// is the time since boot.
func New(above int, clock func() time.Duration, out Output) *Grouper {
	return &Grouper{
		above: above, clock: clock, out: out, seed: maphash.MakeSeed(),
		members: make(map[uint64]member), leaks: make(map[signature]*leak),
		stacks: make(map[signature]uint64),
	}
}

// Loss passes on a loss.
func (g *Grouper) Loss(l *finding.Loss) { g.out.Loss(l) }

// WriteQueue passes on what is about many sockets already.
func (g *Grouper) WriteQueue(w *finding.WriteQueue) { g.out.WriteQueue(w) }

// Finding passes a finding on, or counts it.
func (g *Grouper) Finding(f *finding.Finding) {
	if g.count(f) {
		g.out.Finding(f)
	}
}

// count takes note of a finding, and reports whether it is passed on.
func (g *Grouper) count(f *finding.Finding) bool {
	if g.above == 0 || f.Kind == finding.KindNone {
		return true
	}
	key := maphash.String(g.seed, f.ID)
	m, known := g.members[key]
	switch {
	case f.Status == finding.Open && !known:
		m = g.open(f)
		g.members[key] = m
	case !known && f.Status == finding.Update:
		m = g.adopt(f)
	case !known:
		m.printed = true
	case f.Status == finding.Resolved:
		delete(g.members, key)
		m.leak.close(m.printed, f.ID)
	default:
		m.leak.learn(f)
		m.leak.sample(f.ID)
	}
	return m.printed
}

// open decides whether a finding is printed.
func (g *Grouper) open(f *finding.Finding) member {
	now := g.clock()
	m := member{since: tenths(now - f.Duration), exact: f.SinceExact}
	l := g.leakOf(g.settle(sign(f)), now)
	switch {
	case l.family == nil || l.active() || !l.mayPrint(g.above, now):
		m.leak = l
	case l.family.active() || !l.family.mayPrint(manyServices*g.above, now):
		m.leak = l.family
	default:
		m.leak, m.printed = l, true
	}
	m.leak.open(f, m.printed)
	if g.inherits(f, now) {
		m.leak.inherit(m.printed)
	}
	return m
}

// settle makes findings whose stack is not known (the budget was used up, or its
// functions are still being looked for) count with those that are alike in all else.
func (g *Grouper) settle(s signature) signature {
	base := s
	base.stack = 0
	known := g.stacks[base]
	switch {
	case s.stack == 0:
		s.stack = known
	case known == 0 && len(g.stacks) < leaksMax:
		g.stacks[base] = s.stack
		if l, ok := g.leaks[base]; ok {
			delete(g.leaks, base)
			l.signature = s
			g.leaks[s] = l
		}
	}
	return s
}

// drop forgets a leak that is over.
func (g *Grouper) drop(l *leak) {
	delete(g.leaks, l.signature)
	base := l.signature
	base.stack = 0
	if g.stacks[base] == l.signature.stack {
		delete(g.stacks, base)
	}
	if l.family != nil {
		l.family.members--
	}
}

func (g *Grouper) leakOf(s signature, now time.Duration) *leak {
	if l, ok := g.leaks[s]; ok {
		return l
	}
	family := g.familyOf(g.settle(s.family()), now)
	if len(g.leaks) >= leaksMax {
		return family
	}
	l := &leak{signature: s, family: family, tokens: float64(g.above), filled: now}
	family.members++
	g.leaks[s] = l
	return l
}

func (g *Grouper) familyOf(s signature, now time.Duration) *leak {
	if l, ok := g.leaks[s]; ok {
		return l
	}
	if len(g.leaks) >= leaksMax {
		s = signature{kind: s.kind}
		if l, ok := g.leaks[s]; ok {
			return l
		}
	}
	l := &leak{signature: s, tokens: float64(manyServices * g.above), filled: now}
	g.leaks[s] = l
	return l
}

// mayPrint: no more than most are open with records of their own, nor are so many
// opened a minute.
func (l *leak) mayPrint(most int, now time.Duration) bool {
	l.tokens = min(float64(most), l.tokens+float64(most)*(now-l.filled).Minutes())
	l.filled = now
	return l.printed < most && l.tokens >= 1
}

// active: some are open that have no records of their own.
func (l *leak) active() bool { return l.opened > l.resolved }

// count is how many are open.
func (l *leak) count() int { return l.printed + int(l.opened-l.resolved) }

func (l *leak) open(f *finding.Finding, printed bool) {
	l.note(f)
	if !printed {
		l.opened++
		l.fresh = true
		return
	}
	l.printed++
	l.tokens--
	l.family.note(f)
	l.family.printed++
	l.family.tokens--
}

// note takes what a new finding shares with the others.
func (l *leak) note(f *finding.Finding) {
	if l.id == "" || (l.count() == 0 && !l.told && !l.fresh) {
		l.begin(f)
	}
	if l.process.PID != f.Owner.Process.PID {
		l.process.PID = 0
	}
	l.learn(f)
	l.sample(f.ID)
}

// begin starts a leak, or starts it anew after its last record.
func (l *leak) begin(f *finding.Finding) {
	sum := sha256.Sum256([]byte("group " + f.ID))
	l.id = hex.EncodeToString(sum[:10])
	l.opened, l.resolved, l.samples = 0, 0, l.samples[:0]
	l.process, l.stack, l.workload = finding.Process{FD: -1}, nil, nil
	l.every, l.inherited = pace, 0
	s := sign(f)
	if s.program == l.program {
		l.process = f.Owner.Process
	}
}

// learn takes names that came later.
func (l *leak) learn(f *finding.Finding) {
	if w := f.Workload; w != nil && containerOf(w) == l.container && (l.workload == nil || (l.workload.Pod == "" && w.Pod != "")) {
		l.workload = w
	}
	if l.stack == nil && l.signature.stack != 0 && sameStack(f.Stack) == l.signature.stack {
		l.stack = f.Stack
	}
}

func (l *leak) sample(id string) {
	if len(l.samples) >= finding.MaxSamples {
		return
	}
	for _, have := range l.samples {
		if have == id {
			return
		}
	}
	l.samples = append(l.samples, id)
}

func (l *leak) close(printed bool, id string) {
	l.forget(id)
	if !printed {
		l.resolved++
		l.fresh = true
		return
	}
	l.printed--
	if l.family != nil {
		l.family.printed--
		l.family.forget(id)
	}
}

func (l *leak) forget(id string) {
	for i, have := range l.samples {
		if have == id {
			l.samples = append(l.samples[:i], l.samples[i+1:]...)
			return
		}
	}
}

// tenth is the unit of ages. A beginning is rounded up: no age is too high.
const tenth = 100 * time.Millisecond

func tenths(d time.Duration) int32 { return int32((d + tenth - 1) / tenth) }
