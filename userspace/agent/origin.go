package agent

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Origin knows in which container a process or a socket is. It answers at once;
// what it does not know yet it may know when the finding is updated.
type Origin interface {
	Of(p *finding.Process, s *flow.ID, since, now time.Duration) *finding.Workload
}

// addOrigin says where both ends of what is about to be written run.
func (a *Agent) addOrigin(f *finding.Finding, since, now time.Duration) {
	if a.cfg.Origin == nil {
		return
	}
	f.Workload = a.cfg.Origin.Of(&f.Owner.Process, &f.Sock.ID, since, now)
	if p := f.Peer; p != nil {
		p.Workload = a.cfg.Origin.Of(&p.Owner.Process, &flow.ID{CgroupID: p.CgroupID}, since, now)
	}
}
