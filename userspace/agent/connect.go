package agent

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// dropsLinger is how long dropped packets are looked at after the last connect
// stopped waiting: where one is stuck, the next is not far.
const dropsLinger = 10 * time.Second

// watchDrops looks at dropped packets as long as a connect waits. What cannot be
// attached is tried again at the next tick: a reason is lost by that, not a finding.
func (a *Agent) watchDrops(now time.Duration) {
	if a.detector.Connecting() > 0 {
		a.dropsUntil = now + dropsLinger
	}
	on := now < a.dropsUntil
	if on == a.dropsOn {
		return
	}
	if err := a.kernel.WatchSYN(on); err != nil {
		a.dropsFailed.Do(func() {
			a.log.Warn().Err(err).Msg("dropped SYNs are not told from those that nobody answers")
		})
		return
	}
	a.dropsOn = on
}

// findListeners looks, among what the walk over the descriptors found, for full
// listeners that unanswered connects are meant for.
func (a *Agent) findListeners() error {
	for i, v := range a.pending {
		if !detect.MayOverflow(v) {
			continue
		}
		l, err := a.listenerFor(&v.Sock, a.queries[i].Full)
		if err != nil {
			return err
		}
		a.detector.Overflow(v, l)
	}
	return nil
}

// listenerFor returns the full listener that a SYN arrives at, nil if none. A
// listener in another network namespace is one only if the peer's address is that
// namespace's and not the connecting one's own.
func (a *Agent) listenerFor(s *flow.Sock, full []flow.Held) (*finding.Listener, error) {
	if len(full) == 0 {
		return nil, nil
	}
	peer := s.Peer.Addr()
	own, err := a.isOwn(s, peer)
	if err != nil {
		return nil, err
	}
	for i := range full {
		l := &full[i]
		here := l.NetNS == s.NetNS
		if here != own {
			continue
		}
		if !here {
			there, err := a.kernel.HasAddress(l.Key, peer)
			if err != nil {
				return nil, fmt.Errorf("looking for the peer's address: %w", err)
			}
			if !there {
				continue
			}
		}
		return a.owners.Listener(l), nil
	}
	return nil, nil
}

func (a *Agent) isOwn(s *flow.Sock, addr netip.Addr) (bool, error) {
	if addr.IsLoopback() || addr == s.Local.Addr() {
		return true, nil
	}
	own, err := a.kernel.HasAddress(s.Key, addr)
	if err != nil {
		return false, fmt.Errorf("looking for the peer's address: %w", err)
	}
	return own, nil
}
