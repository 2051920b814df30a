package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Age implements Kernel.
func (k *fakeKernel) Age(young time.Duration, flush func() error) error {
	if err := k.call("Age"); err != nil {
		return err
	}
	k.mu.Lock()
	left := k.young[:0]
	for _, p := range k.young {
		if k.boot()-p.since < young {
			left = append(left, p)
			continue
		}
		if s, ok := k.socks[p.key.Addr]; ok && s.Key == p.key && s.State == p.state {
			k.promote(p)
		}
	}
	k.young = left
	k.mu.Unlock()
	return flush()
}

func (k *fakeKernel) promote(p slot) {
	e := flow.Event{Kind: flow.EventPromoted, Time: k.boot(), Since: p.since, ID: flow.ID{Key: p.key}, New: p.state, Task: p.task}
	if k.oldMax > 0 && len(k.old) >= k.oldMax {
		k.stats.PromotedFull++
		e.Untracked = true
	} else {
		k.old[p.key.Addr] = p
	}
	k.send(e)
}

// AgePace implements Kernel.
func (k *fakeKernel) AgePace() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pace > 0 {
		return k.pace
	}
	return time.Hour
}

// Events implements Kernel.
func (k *fakeKernel) Events(fn func(*flow.Event)) error {
	if err := k.call("Events"); err != nil {
		return err
	}
	k.mu.Lock()
	var events []flow.Event
	if !k.late {
		events, k.ring = k.ring, nil
	}
	k.mu.Unlock()
	for i := range events {
		e := events[i]
		fn(&e)
		e = flow.Event{} // only valid during the call
	}
	return nil
}

func (k *fakeKernel) reading(s flow.Sock) flow.Sock {
	s.LastAck = k.boot() - k.entered[s.Addr]
	if s.State == flow.StateSynSent {
		s.Waiting = s.LastAck
	}
	if s.State == flow.StateEstablished {
		s.LastSend = s.LastAck
	}
	return s
}

// Read implements Kernel.
func (k *fakeKernel) Read(socks []*flow.Sock, track bool) error {
	if err := k.call("Read"); err != nil {
		return err
	}
	k.mu.Lock()
	defer func() {
		after := k.after
		k.mu.Unlock()
		if after != nil && len(socks) > 0 {
			after()
		}
	}()
	for _, s := range socks {
		is, ok := k.socks[s.Addr]
		if !ok || (s.Cookie != 0 && is.Cookie != s.Cookie) {
			*s = flow.Sock{ID: s.ID, Gone: true}
			continue
		}
		*s = k.reading(is)
		if _, known := k.old[s.Addr]; track && !known && (k.watch.Has(s.State) || s.State == flow.StateEstablished) {
			if k.oldMax > 0 && len(k.old) >= k.oldMax {
				s.Untracked = true
				continue
			}
			k.old[s.Addr] = slot{key: s.Key, state: s.State}
		}
	}
	return nil
}

// waits is what the kernel's walk lets through of ESTABLISHED sockets.
func waits(s *flow.Sock) bool {
	return s.WriteSeq != s.SndUna || s.RcvNxt != s.CopiedSeq || !s.HasSocket
}

// Walk implements Kernel.
func (k *fakeKernel) Walk(want flow.WalkStates, fn func(*flow.Sock)) error {
	if err := k.call("Survey"); err != nil {
		return err
	}
	return k.walk("Walk", want, fn)
}

func (k *fakeKernel) walk(name string, want flow.WalkStates, fn func(*flow.Sock)) error {
	if err := k.call(name); err != nil {
		return err
	}
	k.mu.Lock()
	var found []flow.Sock
	for _, s := range k.socks {
		if _, aside := k.Aside(s.ID); aside && s.State == flow.StateEstablished && want.Waiting {
			continue
		}
		if want.States.Has(s.State) && (s.State != flow.StateEstablished || !want.Waiting || waits(&s) || want.Idle > 0) {
			found = append(found, k.reading(s))
		}
	}
	k.mu.Unlock()
	for i := range found {
		fn(&found[i])
		found[i] = flow.Sock{}
	}
	return nil
}

// WalkSome implements Kernel: the last of its steps is a whole walk. Survey is
// called where that is one too.
func (k *fakeKernel) WalkSome(want flow.WalkStates, fn func(*flow.Sock)) (bool, error) {
	if k.step++; k.step < k.steps {
		return false, k.call("WalkSome")
	}
	k.step = 0
	if want.States&^flow.StateEstablished.Bit() != 0 {
		if err := k.call("Survey"); err != nil {
			return true, err
		}
	}
	return true, k.walk("WalkSome", want, fn)
}

// WriteQueues implements Kernel.
func (k *fakeKernel) WriteQueues() (q flow.WriteQueues, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.socks {
		if s.State == flow.StateEstablished && s.WriteSeq != s.SndUna {
			q.Sockets++
			q.Pairs = append(q.Pairs, flow.WriteQueue{
				Pair:    flow.Pair{Local: netip.AddrPortFrom(s.Local.Addr(), 0), Peer: s.Peer, NetNS: s.NetNS},
				Sockets: 1, Unsent: uint64(s.WriteSeq - s.SndUna), Undrained: k.boot() - k.entered[s.Addr], Sample: s.Key,
			})
		}
	}
	return q, nil
}

// Facing implements Kernel. As the kernel's filter it lets others pass as well.
func (k *fakeKernel) Facing(_ []*flow.Sock, fn func(*flow.Sock)) error {
	if err := k.call("Facing"); err != nil {
		return err
	}
	k.mu.Lock()
	var found []flow.Sock
	for _, s := range k.socks {
		found = append(found, k.reading(s))
	}
	k.mu.Unlock()
	for i := range found {
		fn(&found[i])
		found[i] = flow.Sock{}
	}
	return nil
}

// Recall implements Kernel.
func (k *fakeKernel) Recall(key flow.Key) (flow.Task, time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.old[key.Addr]
	if !ok || p.key != key {
		return flow.Task{}, 0, false
	}
	return p.task, p.since, true
}

// Holders implements Kernel.
func (k *fakeKernel) Holders(want flow.Wanted, fn func(*flow.Held)) error {
	if err := k.call("Holders"); err != nil {
		return err
	}
	k.mu.Lock()
	held := slices.Clone(k.held)
	k.mu.Unlock()
	for i := range held {
		if slices.Contains(want.Socks, held[i].Addr) || want.States.Has(held[i].State) ||
			(held[i].State == flow.StateListen && slices.Contains(want.Ports, held[i].Local.Port())) {
			fn(&held[i])
		}
	}
	return nil
}

// Cookie implements Kernel.
func (k *fakeKernel) Cookie(flow.ID) (uint64, error) { return 0, k.call("Cookie") }

// WatchSYN implements Kernel.
func (k *fakeKernel) WatchSYN(on bool) error {
	if err := k.call("WatchSYN"); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watching = on
	return nil
}

// HasAddress implements Kernel.
func (k *fakeKernel) HasAddress(sock flow.Key, addr netip.Addr) (bool, error) {
	if err := k.call("HasAddress"); err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.addresses[sock], addr), nil
}

// Stats implements Kernel.
func (k *fakeKernel) Stats() (flow.Stats, error) {
	err := k.call("Stats")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stats, err
}
