package serve

import (
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// place is a workload as the labels name it; the zero place is none.
type place struct{ namespace, pod, container string }

// others stands for the workloads that found no room among the series.
var others = place{other, other, other}

const (
	other = "other"
	// maxPlaces bounds the workloads that have series of their own at once, each
	// some of 16 kinds and reasons; a node runs 110 pods by default, 250 at most.
	maxPlaces = 256
	// forgetAfter is how long a series stays at 0 after its last finding: several
	// scrapes and evaluations of rules, so that a query sees the return to 0.
	forgetAfter = 10 * time.Minute
	// maxLabel holds the names that Kubernetes allows, DNS subdomains.
	maxLabel = 253
)

type series struct {
	kind   finding.Kind
	reason finding.Reason
}

// placeCounts are the open findings of a place. Series that were there once stay
// at 0 as long as the place does.
type placeCounts struct {
	open  int
	by    map[series]int64
	empty time.Time // since when there are none
}

// places counts the open findings by workload.
type places struct {
	now func() time.Time

	mu     sync.Mutex
	totals map[series]int64
	counts map[place]*placeCounts
	// crowded are the places that count among others, with their open
	// findings: what was added there must be taken away there.
	crowded map[place]int
}

func newPlaces() *places {
	return &places{
		now: time.Now, totals: map[series]int64{}, counts: map[place]*placeCounts{}, crowded: map[place]int{},
	}
}

// placeOf returns what the labels say of a workload. Text that is no valid UTF-8
// would make every scrape fail.
func placeOf(w *finding.Workload) place {
	if w == nil {
		return place{}
	}
	return place{
		readable.Safe(w.Namespace, maxLabel), readable.Safe(w.Pod, maxLabel), readable.Safe(w.Container, maxLabel),
	}
}

// add counts n findings more, or fewer, of a series and workload.
func (p *places) add(s series, w *finding.Workload, n int) {
	at := placeOf(w)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.totals[s] += int64(n)
	if at == (place{}) {
		p.count(at, s, n)
		return
	}
	if _, known := p.counts[at]; !known && (p.crowded[at] > 0 || !p.room()) {
		if p.crowded[at] += n; p.crowded[at] <= 0 {
			delete(p.crowded, at)
		}
		at = others
	}
	p.count(at, s, n)
}

func (p *places) count(at place, s series, n int) {
	c := p.counts[at]
	if c == nil {
		c = &placeCounts{by: map[series]int64{}}
		p.counts[at] = c
	}
	c.by[s] += int64(n)
	if c.open += n; c.open <= 0 {
		c.empty = p.now()
	}
}

// room reports whether one more place may have series. Of those without open
// findings the one that has been so for longest goes, if Prometheus had the time
// to see it.
func (p *places) room() bool {
	if len(p.counts) < maxPlaces {
		return true
	}
	const seen = 2 * time.Minute
	var oldest place
	since := p.now().Add(-seen)
	for at, c := range p.counts {
		if at != (place{}) && at != others && c.open <= 0 && c.empty.Before(since) {
			oldest, since = at, c.empty
		}
	}
	if oldest == (place{}) {
		return false
	}
	delete(p.counts, oldest)
	return true
}

// total returns the open findings of a series in all places.
func (p *places) total(s series) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.totals[s]
}

// each calls fn for every series, and forgets places that have long been empty.
func (p *places) each(fn func(place, series, int64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for at, c := range p.counts {
		if at != (place{}) && c.open <= 0 && now.Sub(c.empty) >= forgetAfter {
			delete(p.counts, at)
			continue
		}
		for s, n := range c.by {
			fn(at, s, n)
		}
	}
}
