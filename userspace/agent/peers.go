package agent

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
	"github.com/tcplimbo/tcplimbo/userspace/peer"
)

const (
	// peerShare bounds what walks for other ends take of a core to 1/20, in the
	// long run: peerCredit is how far ahead of that they may be.
	peerShare  = 20
	peerCredit = 5 * time.Second
	// peerPatience is the longest that findings wait after a walk, so that they
	// share the next. Where walks take over 2 ms and findings go on and on, some
	// are said without their other end, and have it in an update.
	peerPatience = wakeStep
)

// peers looks for the other ends of what is about to be said.
type peers struct {
	source peer.Source
	// earned is until when the walks so far have used up their share; cost is
	// that of the last.
	earned, cost time.Duration
	// quiet is until when what falls due waits for others.
	quiet time.Duration
	socks []*flow.Sock
	// ends are those found, in the order of the pending verdicts; nil: none. asked
	// are their queries, by number.
	ends  []*flow.Sock
	asked []int
}

// find fills ends. The walk is made before the owners are looked for, so that one
// look at all descriptors does for both ends. cost meters it.
func (p *peers) find(pending []*detect.Verdict, clock func() time.Duration, cost func() time.Duration) error {
	before := clock()
	if before+peerCredit < p.earned {
		p.quiet = 0
		return nil
	}
	p.socks = p.socks[:0]
	for _, v := range pending {
		p.socks = append(p.socks, &v.Sock)
	}
	ends, err := peer.Find(p.source, p.socks)
	if err != nil {
		return err
	}
	p.ends = ends
	p.cost = believed(cost(), p.cost)
	p.earned = max(p.earned, before) + peerShare*p.cost
	p.quiet = clock() + min(peerShare*p.cost, peerPatience)
	return nil
}

// queries adds a query for each end that was found.
func (p *peers) queries(to []owner.Query) []owner.Query {
	p.asked = p.asked[:0]
	for _, end := range p.ends {
		p.asked = append(p.asked, len(to))
		if end != nil {
			to = append(to, owner.Query{Sock: end})
		}
	}
	return to
}

// reread adds the ends of some pending verdicts, to be read at the same moment as the
// findings' sockets.
func (p *peers) reread(socks []*flow.Sock, from, to int) []*flow.Sock {
	if len(p.ends) == 0 {
		return socks
	}
	for _, end := range p.ends[from:to] {
		if end != nil {
			*end = flow.Sock{ID: end.ID}
			socks = append(socks, end)
		}
	}
	return socks
}

// confirm says what is known of the other ends of some pending verdicts, now that
// they and the findings were read again, as often as they are.
func (p *peers) confirm(pending []*detect.Verdict, queries []owner.Query, from, to int) {
	if len(p.ends) == 0 {
		return
	}
	for i := from; i < to; i++ {
		if end := p.ends[i]; end != nil {
			pending[i].Peer = peerOf(&pending[i].Sock, end, &queries[p.asked[i]].Result)
		}
	}
}

// release lets go of what was asked and found: thousands may have opened at once.
func (p *peers) release() {
	p.ends = nil
	clear(p.socks)
	if len(p.socks) > keepMax {
		p.socks, p.asked = nil, nil
	}
}

func peerOf(s, end *flow.Sock, holder *finding.Owner) *finding.Peer {
	if !peer.Joined(s, end) {
		return nil
	}
	return peer.Describe(end, holder)
}
