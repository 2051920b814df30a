package agent

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
)

const (
	// auditMost bounds the connections that are remembered as told; what is
	// idle beyond that is not listed.
	auditMost = 1 << 16
	// auditBatch is how many are told of at once: what a walk over the
	// descriptors serves, and what a reader of the output can take.
	auditBatch = 512
	// auditParts: the walk that shows idle connections costs more than the
	// others, so it comes at an eighth of the time that makes them idle.
	auditParts = 8
	// auditLeast is the shortest time between two such walks.
	auditLeast = time.Second
)

// audit lists connections that are idle without keepalive, each once as long as
// it is idle.
type audit struct {
	after time.Duration // 0: off
	next  time.Duration
	// told are the connections that were told of, with the round in which a
	// walk showed them last.
	told  map[flow.Key]uint64
	round uint64
	// fresh wait to be told.
	fresh []flow.Sock
}

// begin says whether the walk that begins now shall show idle connections.
func (u *audit) begin(now time.Duration) bool {
	if u.after == 0 || now < u.next {
		return false
	}
	u.next = now + max(u.after/auditParts, auditLeast)
	u.round++
	return true
}

// take notes an idle connection.
func (u *audit) take(s *flow.Sock) {
	_, known := u.told[s.Key]
	if !known && (len(u.fresh) >= auditBatch || len(u.told) >= auditMost) {
		return // the next round
	}
	u.told[s.Key] = u.round
	if !known {
		u.fresh = append(u.fresh, *s)
	}
}

// forget drops what the round did not show: it is not idle any more, or gone.
func (u *audit) forget() {
	for key, round := range u.told {
		if round != u.round {
			delete(u.told, key)
		}
	}
}

// idleFor returns for how long nothing has come or gone.
func idleFor(s *flow.Sock) time.Duration {
	idle := time.Duration(-1)
	for _, d := range [...]time.Duration{s.LastReceive, s.LastSend, s.LastAck} {
		if d >= 0 && (idle < 0 || d < idle) {
			idle = d
		}
	}
	return idle
}

// idles reports whether a connection belongs into the audit.
func (u *audit) idles(s *flow.Sock) bool {
	return u.after > 0 && !s.Keepalive && !detect.Waits(s) && idleFor(s) >= u.after
}

// tellIdle writes the connections that the last round found.
func (a *Agent) tellIdle() error {
	fresh := a.audit.fresh
	if len(fresh) == 0 {
		return nil
	}
	a.audit.fresh = fresh[:0]
	queries := make([]owner.Query, len(fresh))
	again := make([]*flow.Sock, len(fresh))
	for i := range fresh {
		again[i] = &flow.Sock{ID: fresh[i].ID}
		queries[i] = owner.Query{Sock: &fresh[i]}
	}
	if err := a.owners.Resolve(queries); err != nil {
		return fmt.Errorf("finding holders: %w", err)
	}
	if err := a.kernel.Read(again, false); err != nil {
		return fmt.Errorf("reading sockets: %w", err)
	}
	for i, s := range again {
		if s.Gone || s.State != flow.StateEstablished || !a.audit.idles(s) {
			continue
		}
		if queries[i].Server && s.Role == flow.RoleUnknown {
			s.Role = flow.RoleServer
		}
		a.writeIdle(s, &queries[i].Result)
	}
	return nil
}

func (a *Agent) writeIdle(s *flow.Sock, o *finding.Owner) {
	now, idle := a.cfg.Now(), idleFor(s)
	a.record = finding.Finding{
		Time: now, Since: now.Add(-idle), SinceExact: true, Duration: idle, Threshold: a.audit.after,
		Sock: *s, Live: true, Owner: *o, GivesUp: explain.GivesUp(s),
	}
	a.record.Message = explain.Idle(&a.record)
	a.out.Finding(&a.record)
}
