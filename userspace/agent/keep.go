package agent

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Keeper keeps what the next run has to know. Both methods may be called by other
// goroutines than the agent's, one after the other for one finding. What fails is
// theirs to tell.
type Keeper interface {
	Keep(k *flow.Kept)
	Forget(k *flow.Kept)
}

// Ordered is an Output that calls then once the record was written, or at once if it
// is written nowhere. own: the finding has records of its own, and is not only counted
// in a group's.
type Ordered interface {
	FindingThen(f *finding.Finding, then func(own bool))
}

const (
	// keepEvery is how often sockets that are not flagged are noted for the next
	// run, and keepOlder how long they must have been in their state: of younger
	// ones the next run knows nearly as much by itself.
	keepEvery = time.Second
	keepOlder = time.Second
	// keepWaiting bounds their number.
	keepWaiting = 1 << 14
	// synLater is by how much the SYN that is waited for must be younger than the
	// finding for it to be of another connect on the same socket.
	synLater = time.Second
)

// keeping is what is noted of sockets that are not flagged.
type keeping struct {
	next time.Duration
	// noted are those of the map, with the round that met them last.
	noted map[flow.Key]notedSock
	round uint64
}

type notedSock struct {
	since time.Duration
	round uint64
}

// say writes a record and keeps what it says, in this order: a crash in between
// says it twice, with the same id, where the other order would leave it out.
func (a *Agent) say(v *detect.Verdict, f *finding.Finding) {
	if a.cfg.Keep == nil {
		a.out.Finding(f)
		return
	}
	k := keptFinding(v, f, a.cfg.Polled)
	then := func(own bool) {
		k.Grouped = !own
		a.cfg.Keep.Keep(k)
	}
	if f.Status == finding.Resolved {
		then = func(bool) { a.cfg.Keep.Forget(k) }
	}
	if out, ok := a.out.(Ordered); ok {
		out.FindingThen(f, then)
		return
	}
	a.out.Finding(f)
	then(true)
}

func keptFinding(v *detect.Verdict, f *finding.Finding, polled bool) *flow.Kept {
	s, p := &f.Sock, &f.Owner.Process
	at, interval := v.NextUpdate()
	return &flow.Kept{
		FindingID: f.ID, Polled: polled, Sock: s.ID, State: s.State, TimeWait: s.TimeWait, Role: s.Role,
		Since: v.Since, Exact: v.Exact, Task: v.Opener,
		Reason: f.Reason.String(), Wall: f.Since,
		NextUpdate: at, Interval: interval, Threshold: v.Threshold,
		SndUna: s.SndUna, CopiedSeq: s.CopiedSeq, RcvNxt: s.RcvNxt, Inode: s.Inode,
		Owner: p.Task, Relation: p.Relation.String(), FD: int32(p.FD), Path: p.Path,
	}
}

// keepSome notes the sockets that are not flagged yet, so that the next run knows
// their ages.
func (a *Agent) keepSome(now time.Duration) {
	if a.cfg.Keep == nil || now < a.keeping.next {
		return
	}
	k := &a.keeping
	k.next = now + keepEvery
	k.round++
	a.detector.Waiting(now-keepOlder, func(p *detect.Past) {
		was, known := k.noted[p.Sock.Key]
		if !known && len(k.noted) >= keepWaiting {
			return
		}
		k.noted[p.Sock.Key] = notedSock{p.Since, k.round}
		if !known || was.since != p.Since {
			a.cfg.Keep.Keep(&flow.Kept{
				Polled: a.cfg.Polled, Sock: p.Sock.ID, State: p.Sock.State, TimeWait: p.Sock.TimeWait, Role: p.Sock.Role,
				Since: p.Since, Exact: p.Exact, Task: p.Opener, Inode: p.Sock.Inode, FD: -1,
			})
		}
	})
	for key, n := range k.noted {
		if n.round != k.round {
			delete(k.noted, key)
			a.cfg.Keep.Forget(&flow.Kept{Sock: flow.ID{Key: key}})
		}
	}
}

// restore goes on where the last run ended. It comes before the first walk, which
// then finds what took the place of a socket that ended meanwhile; the rest shows
// when each is read.
func (a *Agent) restore(now time.Duration) error {
	kept := a.cfg.Kept
	a.cfg.Kept = nil
	// Findings first: their sockets may be among the others too.
	slices.SortStableFunc(kept, func(x, y flow.Kept) int {
		return cmp.Or(-cmp.Compare(len(x.FindingID), len(y.FindingID)), -cmp.Compare(x.Since, y.Since))
	})
	if err := a.readdress(kept); err != nil {
		return err
	}
	var socks []*flow.Sock
	var since []time.Duration
	for i := range kept {
		if a.restoreOne(&kept[i], now) {
			socks, since = append(socks, &flow.Sock{ID: kept[i].Sock}), append(since, kept[i].Since)
		}
	}
	if err := a.track(socks); err != nil {
		return err
	}
	for i, s := range socks {
		// Another connect on the same socket: it keeps its cookie. Without eBPF the
		// time since its SYN is a lower bound, which proves nothing here.
		if !a.cfg.Polled && !s.Gone && s.State == flow.StateSynSent && s.Waiting >= 0 && now-s.Waiting > since[i]+synLater {
			a.detector.Drop(s.ID, now)
		}
	}
	return nil
}

// readdress gives sockets that the other kernel side has left the address that they
// have for this one. It takes a walk of its own.
func (a *Agent) readdress(kept []flow.Kept) error {
	foreign := map[uint64][]*flow.Kept{}
	for i := range kept {
		k := &kept[i]
		if k.Polled == a.cfg.Polled {
			continue
		}
		foreign[k.Sock.Cookie] = append(foreign[k.Sock.Cookie], k)
		if k.FindingID == "" {
			a.cfg.Keep.Forget(k) // its key has the old address
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	states := a.states | flow.StateFinWait2.Bit() | flow.StateEstablished.Bit()
	err := a.kernel.Walk(flow.WalkStates{States: states}, func(s *flow.Sock) {
		for _, k := range foreign[s.Cookie] {
			if k.Sock.NetNS == s.NetNS && k.Sock.Peer == s.Peer {
				k.Sock.Addr = s.Addr
			}
		}
	})
	if err != nil {
		return fmt.Errorf("walking connections: %w", err)
	}
	return nil
}

func (a *Agent) restoreOne(k *flow.Kept, now time.Duration) bool {
	if k.Grouped {
		// The run that counted it is over: it is counted anew, at its old age.
		a.cfg.Keep.Forget(k)
		k.FindingID = ""
	}
	past, ok := pastOf(k)
	if !ok || k.Since > now {
		a.cfg.Keep.Forget(k)
		return false
	}
	if past.Finding != nil {
		a.open[k.FindingID] = opened{reason: past.Finding.Reason, since: k.Wall}
		a.stacks.restored(finding.KindOf(k.State))
		a.meter.Opened(finding.KindOf(k.State), past.Finding.Reason, nil)
		return a.detector.Restore(past, now)
	}
	if !a.detector.Restore(past, now) {
		a.cfg.Keep.Forget(k)
		return false
	}
	if k.Polled == a.cfg.Polled && !k.Grouped {
		a.keeping.noted[k.Sock.Key] = notedSock{since: k.Since}
	}
	return true
}

// pastOf reads what the last run left; false for what this version does not know.
func pastOf(k *flow.Kept) (*detect.Past, bool) {
	p := &detect.Past{
		Sock: flow.Sock{
			ID: k.Sock, State: k.State, TimeWait: k.TimeWait, Dead: k.TimeWait, Role: k.Role, Inode: k.Inode,
			SndUna: k.SndUna, CopiedSeq: k.CopiedSeq, RcvNxt: k.RcvNxt, HasSocket: k.Inode != 0,
		},
		Since: k.Since, Exact: k.Exact, Opener: k.Task,
	}
	if k.FindingID == "" {
		return p, true
	}
	reason, known := finding.ReasonOf(k.Reason)
	relation, also := finding.RelationOf(k.Relation)
	if !known || !also || k.Threshold <= 0 || finding.KindOf(k.State) == finding.KindNone {
		return nil, false
	}
	p.Finding = &detect.PastFinding{
		ID: k.FindingID, Reason: reason, Threshold: k.Threshold, NextUpdate: k.NextUpdate, Interval: k.Interval,
		Owner: finding.Owner{Process: finding.Process{Task: k.Owner, Relation: relation, FD: int(k.FD), Path: k.Path}},
	}
	if k.Path != "" {
		p.Finding.Owner.Process.Executable = path.Base(k.Path)
	}
	return p, true
}
