package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

const (
	// followMost bounds the connections that are followed at once to see how long
	// what they have written takes to be acknowledged.
	followMost = 32
	// followEvery is the shortest time between two beginnings, and followShare
	// the part of one core that readings may take: 1/2000. followWake is
	// added for each, because it takes a wake-up, of which most is not seen from inside.
	followEvery = 250 * time.Millisecond
	followShare = 2000
	followWake  = 100 * time.Microsecond
	// rowsMost is how many pairs the status page shows.
	rowsMost = 100
)

// flush follows some connections where a patrol found something waiting to be
// acknowledged, and warns of what is above a limit.
type flush struct {
	book     *writequeue.Book
	followed []writequeue.Followed
	// next is when those that are not watched begin anew.
	next  time.Duration
	spent time.Duration // since the last beginning
	batch []*flow.Sock
	which []*writequeue.Followed
}

// queued takes what the patrol that ended added up.
func (a *Agent) queued() error {
	q, err := a.kernel.WriteQueues()
	if err != nil {
		return fmt.Errorf("reading write queues: %w", err)
	}
	f := &a.flush
	f.book.Patrol(q.Pairs, a.cfg.BootTime(), func(w *finding.WriteQueue) {
		w.Time = a.cfg.Now()
		w.Message = explain.WriteQueue(w, &a.cfg.Queues)
		a.out.WriteQueue(w)
	})
	a.meter.WriteQueues(q, f.book.Rows(rowsMost), f.book.Above())
	f.choose()
	return nil
}

// choose fills the places of connections that are not watched any more.
func (f *flush) choose() {
	kept := f.followed[:0]
	for i := range f.followed {
		if _, watched := f.followed[i].Due(); watched {
			kept = append(kept, f.followed[i])
		}
	}
	f.followed = kept
	for _, q := range f.book.Sample(followMost - len(kept)) {
		f.followed = append(f.followed, writequeue.Followed{Pair: q.Pair, Sock: flow.Sock{ID: flow.ID{Key: q.Sample}}})
	}
}

// due returns when a connection has to be read at the latest, false if none has. Where
// something else wakes the loop before, it is read then; and others begin to be followed
// only then, because a wake-up costs as much as many readings.
func (f *flush) due() (next time.Duration, ok bool) {
	for i := range f.followed {
		if at, watched := f.followed[i].Latest(); watched && (!ok || at < next) {
			next, ok = at, true
		}
	}
	return next, ok
}

// follow reads the connections that are due.
func (a *Agent) follow(now time.Duration) error {
	f := &a.flush
	if len(f.followed) == 0 {
		return nil
	}
	f.collect(now)
	if len(f.batch) == 0 {
		return nil
	}
	cost := a.meterCost()
	if err := a.kernel.Read(f.batch, false); err != nil {
		return fmt.Errorf("reading sockets: %w", err)
	}
	f.spent += cost() + followWake
	for _, c := range f.which {
		if _, watched := c.Due(); !watched {
			c.Begin(now)
			continue
		}
		if bucket, known := c.Take(now); known {
			f.book.Observe(c.Pair, bucket, c.Sock.MinRTT, now)
			a.meter.Flushed(bucket)
		}
	}
	return nil
}

// collect puts together what is read now.
func (f *flush) collect(now time.Duration) {
	f.batch, f.which = f.batch[:0], f.which[:0]
	begin := now >= f.next
	if begin {
		f.next, f.spent = now+max(followEvery, followShare*f.spent), 0
	}
	for i := range f.followed {
		c := &f.followed[i]
		if at, watched := c.Due(); watched && at <= now || !watched && begin {
			f.batch, f.which = append(f.batch, &c.Sock), append(f.which, c)
		}
	}
}
