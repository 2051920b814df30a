package writequeue

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

var (
	limits = Limits{Pending: 1000, Undrained: 30 * time.Second, Flush: 50 * time.Millisecond}
	client = flow.Pair{
		Local: netip.MustParseAddrPort("10.0.0.1:0"), Peer: netip.MustParseAddrPort("10.0.0.2:443"), NetNS: 1,
	}
)

func queue(p flow.Pair, unsent, unacked uint64, undrained time.Duration) flow.WriteQueue {
	return flow.WriteQueue{Pair: p, Sockets: 1, Unsent: unsent, Unacked: unacked, Undrained: undrained, Sample: flow.Key{Addr: 1, Cookie: 2}}
}

// patrols feeds a book one patrol after the other, two seconds apart.
type patrols struct {
	book *Book
	now  time.Duration
	said []string
}

func (p *patrols) next(queues ...flow.WriteQueue) {
	p.now += 2 * time.Second
	p.book.Patrol(queues, p.now, func(w *finding.WriteQueue) {
		p.said = append(p.said, w.Status.String()+" "+w.Limit.String())
	})
}

func (p *patrols) want(t *testing.T, want ...string) {
	t.Helper()
	if len(p.said) != len(want) {
		t.Fatalf("said %q, want %q", p.said, want)
	}
	for i := range want {
		if p.said[i] != want[i] {
			t.Fatalf("said %q, want %q", p.said, want)
		}
	}
	p.said = nil
}

func TestWarnings(t *testing.T) {
	p := &patrols{book: New(limits)}
	p.next(queue(client, 600, 400, 30*time.Second))
	p.want(t) // at the limits, not above
	p.next(queue(client, 600, 401, 30*time.Second))
	p.want(t, "open pending")
	p.next(queue(client, 0, 2000, 31*time.Second))
	p.want(t, "open undrained")
	if above := p.book.Above(); above != [finding.QueueLimits]int{1, 1, 0} {
		t.Errorf("above %v", above)
	}
	p.next(queue(client, 0, 1, 0))
	p.want(t) // one calm patrol may be chance
	p.next(queue(client, 0, 1001, 0))
	p.want(t, "resolved undrained")
	p.next()
	p.want(t)
	p.next()
	p.want(t, "resolved pending")
}

func TestResolvedOnceEach(t *testing.T) {
	p := &patrols{book: New(limits)}
	p.next(queue(client, 2000, 0, 0))
	for range 10 {
		p.next()
	}
	p.want(t, "open pending", "resolved pending")
}

// However many are above their limit, few warnings are open; the others come where
// some end.
func TestWarningsAreBounded(t *testing.T) {
	const more, end = 50, 20
	book := New(limits)
	queues := map[flow.Pair]flow.WriteQueue{}
	for i := range uint32(warningsMax + more) {
		pair := client
		pair.NetNS = i
		queues[pair] = queue(pair, limits.Pending+1, 0, 0)
	}
	open, now := map[flow.Pair]bool{}, time.Duration(0)
	patrol := func(times, want int) {
		t.Helper()
		for range times {
			now += 2 * time.Second
			book.Patrol(slices.Collect(maps.Values(queues)), now, func(w *finding.WriteQueue) {
				switch {
				case (w.Status == finding.Open) == open[w.Pair]:
					t.Fatalf("%s again for %v", w.Status, w.Pair)
				case open[w.Pair]:
					delete(open, w.Pair)
				default:
					open[w.Pair] = true
				}
				if len(open) > warningsMax {
					t.Fatalf("%d warnings are open", len(open))
				}
			})
			if above := book.Above()[finding.LimitPending]; above != len(queues) {
				t.Fatalf("%d are above the limit, want %d", above, len(queues))
			}
		}
		if len(open) != want {
			t.Fatalf("%d warnings are open, want %d", len(open), want)
		}
	}
	patrol(2*calm, warningsMax)
	over := slices.Collect(maps.Keys(open))[:end]
	for _, pair := range over {
		delete(queues, pair)
	}
	patrol(calm+1, warningsMax)
	for _, pair := range over {
		if open[pair] {
			t.Errorf("%v has not ended", pair)
		}
	}
	clear(queues)
	patrol(calm, 0)
}

func TestWarningsTurnedOff(t *testing.T) {
	p := &patrols{book: New(Limits{})}
	p.next(queue(client, 1<<40, 0, time.Hour))
	for range 1000 {
		p.book.Observe(client, len(Bounds), 0, p.now)
	}
	p.next(queue(client, 1<<40, 0, time.Hour))
	p.want(t)
}

// The delay that a path takes by itself is no reason to warn, nor are few
// observations.
func TestFlushWarning(t *testing.T) {
	const slow = 5 // 50 to 75 ms
	p := &patrols{book: New(limits)}
	p.next(queue(client, 1, 0, 0))
	observe := func(n int, rtt time.Duration) {
		for range n {
			p.book.Observe(client, slow, rtt, p.now)
		}
		p.next(queue(client, 1, 0, 0))
	}
	observe(99, 0)
	p.want(t)
	observe(1, 30*time.Millisecond)
	p.want(t)
	observe(1, 100*time.Microsecond)
	p.want(t, "open flush_p99")
	p.now += 10 * time.Minute
	p.next(queue(client, 1, 0, 0))
	p.next(queue(client, 1, 0, 0))
	p.want(t, "resolved flush_p99")
}

func TestQuantile(t *testing.T) {
	var d delays
	if q := d.quantile(.5); q >= 0 {
		t.Errorf("without observations %v", q)
	}
	for range 90 {
		d.add(0, 0)
	}
	for range 10 {
		d.add(6, 0) // 75 to 100 ms
	}
	if q := d.quantile(.5); q <= 0 || q > Bounds[0] {
		t.Errorf("median %v", q)
	}
	if q := d.quantile(.99); q <= Bounds[5] || q > Bounds[6] {
		t.Errorf("99th percentile %v", q)
	}
	for range 50 {
		d.add(len(Bounds), window)
	}
	if q := d.quantile(.99); q != Bounds[len(Bounds)-1] {
		t.Errorf("above all bounds %v", q)
	}
	if n := d.count(); n != 150 {
		t.Errorf("%d of this window and the last", n)
	}
	if d.add(0, 2*window); d.count() != 51 {
		t.Errorf("%d when the first is over", d.count())
	}
	if d.add(0, 5*window); d.count() != 1 {
		t.Errorf("%d after a pause", d.count())
	}
}

// Each pair gets its turn, and no more pairs are remembered than there is room.
func TestSampleTakesTurns(t *testing.T) {
	p := &patrols{book: New(Limits{})}
	var queues []flow.WriteQueue
	for i := range pairsMax + 100 {
		pair := client
		pair.NetNS = uint32(i)
		queues = append(queues, queue(pair, uint64(i), 0, 0))
	}
	seen := map[flow.Pair]int{}
	for range pairsMax/64 + 1 {
		p.next(queues...)
		for _, q := range p.book.Sample(64) {
			seen[q.Pair]++
		}
	}
	if len(seen) != pairsMax {
		t.Errorf("%d pairs had a turn, want %d", len(seen), pairsMax)
	}
	for _, n := range seen {
		if n > 2 {
			t.Fatalf("one had %d turns", n)
		}
	}
	rows := p.book.Rows(10)
	if len(rows) != 10 || rows[0].Pending() != pairsMax-1 {
		t.Errorf("%d rows, the first with %d", len(rows), rows[0].Pending())
	}
	for range 700 {
		p.next()
	}
	if n := len(p.book.pairs); n != 0 {
		t.Errorf("%d pairs without anything waiting are remembered", n)
	}
}
