// Package writequeue judges what ESTABLISHED connections have written and not got
// acknowledged, by service and peer: how much it is, for how long nothing of it
// drained, and how long written data takes to be acknowledged. It is pure: time
// is an argument.
package writequeue

import (
	"cmp"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Limits are what is warned about; 0 turns a warning off.
type Limits struct {
	// Pending is in bytes, of all connections of a pair together.
	Pending uint64
	// Undrained is for how long nothing was acknowledged on one connection.
	Undrained time.Duration
	// Flush is what the 99th percentile of the flush delay may be above the
	// path's shortest round trip.
	Flush time.Duration
}

const (
	// pairsMax bounds the pairs that are remembered: 300 bytes each.
	pairsMax = 2048
	// warningsMax bounds the warnings that are open at once; what is above its
	// limit beyond that is counted, not written.
	warningsMax = 128
	// samplesLeast is from how many observations on a 99th percentile says
	// something.
	samplesLeast = 100
	// calm is how many patrols in a row a pair must be below its limit.
	calm = 2
)

// Row is a pair as the last patrol found it.
type Row struct {
	flow.WriteQueue
	// P50 and P99 are quantiles of the flush delay, -1 without Samples, which
	// are observations of the last five to ten minutes.
	P50, P99 time.Duration
	Samples  uint64
	// MinRTT is the shortest round trip of its sampled connections.
	MinRTT time.Duration
	// Over are the limits that it is above.
	Over [finding.QueueLimits]bool
}

// Book remembers pairs.
type Book struct {
	limits Limits
	pairs  map[flow.Pair]*pair
	round  uint64
	open   int
}

type pair struct {
	row     Row
	delays  delays
	round   uint64 // the last patrol that found something waiting
	at      time.Duration
	warned  [finding.QueueLimits]bool
	below   [finding.QueueLimits]uint8 // patrols in a row
	sampled uint64                     // the round in which it was last chosen
}

// New returns an empty Book.
func New(limits Limits) *Book {
	return &Book{limits: limits, pairs: make(map[flow.Pair]*pair)}
}

// Observe counts that written data was acknowledged after a delay, or was not
// within it; minRTT is the connection's shortest round trip, 0 if not known.
func (b *Book) Observe(key flow.Pair, bucket int, minRTT, at time.Duration) {
	p := b.pairs[key]
	if p == nil {
		return // nothing was waiting at the last patrols
	}
	p.delays.add(bucket, at)
	if minRTT > 0 && (p.row.MinRTT == 0 || minRTT < p.row.MinRTT) {
		p.row.MinRTT = minRTT
	}
}

// Patrol takes what a patrol found and calls warn for each warning that begins
// and each that ends.
func (b *Book) Patrol(queues []flow.WriteQueue, at time.Duration, warn func(*finding.WriteQueue)) {
	b.round++
	for i := range queues {
		if p := b.pair(queues[i].Pair, at); p != nil {
			p.row.WriteQueue, p.round, p.at = queues[i], b.round, at
		}
	}
	for key, p := range b.pairs {
		if p.round != b.round {
			p.row.WriteQueue = flow.WriteQueue{Pair: key}
		}
		b.judge(p, at, warn)
		if at-p.at >= 2*window && p.warned == [finding.QueueLimits]bool{} {
			delete(b.pairs, key)
		}
	}
}

// pair returns the entry of a pair; nil if there are too many.
func (b *Book) pair(key flow.Pair, at time.Duration) *pair {
	p := b.pairs[key]
	if p == nil && len(b.pairs) < pairsMax {
		p = &pair{delays: delays{began: at}}
		b.pairs[key] = p
	}
	return p
}

func (b *Book) judge(p *pair, at time.Duration, warn func(*finding.WriteQueue)) {
	r := &p.row
	p.delays.turn(at)
	r.Samples, r.P50, r.P99 = p.delays.count(), p.delays.quantile(.5), p.delays.quantile(.99)
	l := &b.limits
	r.Over = [finding.QueueLimits]bool{
		finding.LimitPending:   l.Pending > 0 && r.Pending() > l.Pending,
		finding.LimitUndrained: l.Undrained > 0 && r.Undrained > l.Undrained,
		finding.LimitFlush:     l.Flush > 0 && r.Samples >= samplesLeast && r.P99 > l.Flush+r.MinRTT,
	}
	for limit, over := range r.Over {
		switch {
		case over:
			p.below[limit] = 0
			if !p.warned[limit] && b.open < warningsMax {
				p.warned[limit] = true
				b.open++
				warn(p.record(finding.QueueLimit(limit), finding.Open))
			}
		case p.warned[limit]:
			if p.below[limit]++; p.below[limit] >= calm {
				p.warned[limit] = false
				b.open--
				warn(p.record(finding.QueueLimit(limit), finding.Resolved))
			}
		}
	}
}

func (p *pair) record(limit finding.QueueLimit, status finding.Status) *finding.WriteQueue {
	return &finding.WriteQueue{
		WriteQueue: p.row.WriteQueue, Limit: limit, Status: status,
		P50: p.row.P50, P99: p.row.P99, Samples: p.row.Samples, MinRTT: p.row.MinRTT,
	}
}

// Rows returns what the last patrol found waiting, what is above a limit first,
// then by bytes, at most most of them.
func (b *Book) Rows(most int) []Row {
	var rows []Row
	for _, p := range b.pairs {
		if p.round == b.round || p.row.Samples > 0 {
			rows = append(rows, p.row)
		}
	}
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(
			cmp.Compare(y.overs(), x.overs()), cmp.Compare(y.Pending(), x.Pending()), cmp.Compare(y.P99, x.P99),
			x.Local.Compare(y.Local), x.Peer.Compare(y.Peer), cmp.Compare(x.NetNS, y.NetNS),
		)
	})
	return slices.Clip(rows[:min(len(rows), most)])
}

func (r *Row) overs() (n int) {
	for _, over := range r.Over {
		if over {
			n++
		}
	}
	return n
}

// Above counts the pairs that are above each limit.
func (b *Book) Above() (n [finding.QueueLimits]int) {
	for _, p := range b.pairs {
		for limit, over := range p.row.Over {
			if over {
				n[limit]++
			}
		}
	}
	return n
}

// Sample returns pairs whose connections shall be followed, at most n: those that
// were not chosen for longest.
func (b *Book) Sample(n int) []flow.WriteQueue {
	var waiting []*pair
	for _, p := range b.pairs {
		if p.round == b.round && p.row.Sample.Addr != 0 {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(x, y *pair) int { return cmp.Compare(x.sampled, y.sampled) })
	waiting = waiting[:min(len(waiting), n)]
	chosen := make([]flow.WriteQueue, len(waiting))
	for i, p := range waiting {
		p.sampled = b.round
		chosen[i] = p.row.WriteQueue
	}
	return chosen
}
