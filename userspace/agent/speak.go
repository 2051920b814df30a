package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/owner"
)

// newID returns a function that names findings: the same socket, kind and
// beginning give the same id, other hosts and other boots never do.
func newID(bootID string) func(flow.ID, finding.Kind, time.Duration) string {
	return func(id flow.ID, kind finding.Kind, since time.Duration) string {
		h := sha256.New()
		h.Write([]byte(bootID))
		var b [33]byte
		// Both, because a minisocket has the cookie of the socket before it,
		// and a socket need not have one.
		binary.BigEndian.PutUint64(b[:], id.Cookie)
		binary.BigEndian.PutUint64(b[8:], id.Addr)
		binary.BigEndian.PutUint64(b[16:], uint64(since))
		binary.BigEndian.PutUint64(b[24:], uint64(id.NetNS))
		b[32] = byte(kind)
		h.Write(b[:])
		return hex.EncodeToString(h.Sum(nil)[:10])
	}
}

// opened is what is remembered of an open finding.
type opened struct {
	reason finding.Reason
	// workload is the one that the meter was told last.
	workload *finding.Workload
	// since is the wall clock of the beginning, the same in every record of
	// the finding even if the clock is set meanwhile.
	since time.Time
	// stack is what was said last.
	stack *finding.Stack
}

// speak finds the owners of what was decided and writes the records.
func (a *Agent) speak() error {
	verdicts := a.foregone(a.detector.Verdicts())
	if len(verdicts) == 0 {
		return nil
	}
	if err := a.findOwners(verdicts); err != nil {
		return err
	}
	if err := a.findStacks(); err != nil {
		return err
	}
	a.readTo = 0
	for i := range verdicts {
		v := &verdicts[i]
		if err := a.refresh(); err != nil {
			return err
		}
		if v.Status != finding.Resolved {
			a.spoken++
		}
		if !v.Sock.Gone && a.said(v) {
			a.write(v, a.confirmed, a.wall)
		}
		verdicts[i].Peer, verdicts[i].Stack = nil, nil
	}
	a.release()
	return nil
}

// release lets go of what was asked: it points to the verdicts, megabytes of them after
// a storm. Thousands at once are rare, and their room is not needed before.
func (a *Agent) release() {
	clear(a.queries)
	clear(a.pending)
	clear(a.again)
	a.peers.release()
	if len(a.queries) > keepMax {
		a.queries, a.pending, a.again = nil, nil, nil
		a.stacks.release()
		a.storm = a.cfg.BootTime()
	}
}

// calmAfter is how long after a storm nothing more is expected of it.
const calmAfter = time.Second

func (a *Agent) calm(now time.Duration) {
	if a.storm == 0 || now < a.storm+calmAfter {
		return
	}
	a.storm = 0
	if a.cfg.Calm != nil {
		a.cfg.Calm()
	}
}

// stale is how old a reading may be when it is put into words. Reading and
// writing take a few milliseconds; what takes longer was stopped in between
// (SIGSTOP, a suspended machine), and then everything may have moved on.
// refreshTries bounds what a machine may cost that is always that slow.
// confirmBatch is how much is read at once: more would be stale before it is said
// where thousands are told at once on a busy host, and be read again and again.
const (
	stale        = 200 * time.Millisecond
	refreshTries = 3
	confirmBatch = 256
)

// refresh reads again what is said next, unless that was just done.
func (a *Agent) refresh() error {
	now := a.cfg.BootTime()
	if now-a.confirmed < stale && a.spoken < a.readTo {
		return nil
	}
	from := a.spoken
	a.readTo = min(from+confirmBatch, len(a.pending))
	for try, readAt := 0, now; from < a.readTo && try < refreshTries && (try == 0 || now-readAt >= stale); try++ {
		readAt = now
		if err := a.confirm(from, a.readTo); err != nil {
			return err
		}
		now = a.cfg.BootTime()
	}
	a.confirmed, a.wall = now, a.cfg.Now()
	return nil
}

// said reports whether the finding was opened; one that ended before its first
// record was confirmed has no other.
func (a *Agent) said(v *detect.Verdict) bool {
	_, ok := a.open[v.ID]
	return ok || v.Status == finding.Open
}

// keepMax is how many questions' memory is kept for the next ones, half a megabyte.
const keepMax = 512

// findOwners asks once for all that opens or is updated; what resolves keeps
// the owner that was found last.
func (a *Agent) findOwners(verdicts []detect.Verdict) error {
	a.queries, a.pending, a.again, a.spoken = a.queries[:0], a.pending[:0], a.again[:0], 0
	for i := range verdicts {
		v := &verdicts[i]
		if v.Status == finding.Resolved {
			continue
		}
		q := owner.Query{
			Sock:       &v.Sock,
			Unaccepted: detect.Unaccepted(&v.Sock),
			Peer:       detect.MayOverflow(v),
			Opener:     v.Opener,
			// It brought the socket into its state, or into the one before.
			Captured: v.Since,
		}
		if v.Status == finding.Update {
			q.Last = v.Owner
		}
		a.queries = append(a.queries, q)
		a.pending = append(a.pending, v)
	}
	if len(a.queries) == 0 {
		return nil
	}
	if err := a.peers.find(a.pending, a.cfg.BootTime, a.meterCost()); err != nil {
		return err
	}
	a.queries = a.peers.queries(a.queries)
	cost := a.meterCost()
	if err := a.owners.Resolve(a.queries); err != nil {
		return fmt.Errorf("finding holders: %w", err)
	}
	a.decide()
	if err := a.findListeners(); err != nil {
		return err
	}
	a.holderCost = believed(cost(), a.holderCost)
	a.quiet = max(a.cfg.BootTime()+holderShare*a.holderCost, a.peers.quiet)
	for _, v := range a.pending {
		a.again = append(a.again, &flow.Sock{ID: v.Sock.ID})
	}
	return nil
}

// holderShare bounds what walks over all descriptors take of a core to 1/5: a
// walk costs some 30 ms where 100,000 are open, and a slow trickle of findings
// asks for one each. What falls due meanwhile shares the next one.
const holderShare = 4

// confirm reads once more what is about to be written: finding the holders took
// time, and a socket that moved on meanwhile must not be reported.
func (a *Agent) confirm(from, to int) error {
	a.batch = a.peers.reread(append(a.batch[:0], a.again[from:to]...), from, to)
	if err := a.kernel.Read(a.batch, false); err != nil {
		return fmt.Errorf("reading sockets: %w", err)
	}
	now := a.cfg.BootTime()
	a.stuck = a.stuck[:0]
	for i := from; i < to; i++ {
		v, s, q := a.pending[i], a.again[i], &a.queries[i]
		if v.Sock.Gone {
			continue
		}
		// Closed by its program meanwhile: reason and holder are others now.
		closed := s.HasSocket != v.Sock.HasSocket
		if s.Gone || closed || finding.KindOf(s.State) != v.Kind || stirs(v, s) {
			a.detector.Withdraw(v, now)
			v.Sock.Gone = true
			continue
		}
		if s.SYN.Drop == nil {
			s.SYN.Drop = v.Sock.SYN.Drop // the reason was decided by it
		}
		role := v.Sock.Role
		if role == flow.RoleUnknown && q.Server {
			role = flow.RoleServer
		}
		v.Sock, v.At = *s, now
		v.Sock.Role = role
		if v.Sock.Cookie == 0 && v.Status == finding.Open {
			// Unknown is left out: without a cookie a finding is still true.
			v.Sock.Cookie, _ = a.kernel.Cookie(v.Sock.ID)
		}
		*v.Owner = q.Result
		a.detector.Keep(v)
		if v.Kind == finding.EstablishedStalled && v.Status == finding.Open {
			a.stuck = append(a.stuck, &flow.Sock{ID: v.Sock.ID})
		}
	}
	a.peers.confirm(a.pending, a.queries, from, to)
	return a.track(a.stuck)
}

// stirs: the data of an ESTABLISHED socket has moved since it was judged.
func stirs(v *detect.Verdict, s *flow.Sock) bool {
	return v.Kind == finding.EstablishedStalled && detect.Moved(v.Reason, &v.Sock, s)
}

func (a *Agent) write(v *detect.Verdict, now time.Duration, wall time.Time) {
	if v.Live {
		v.At = now
		a.detector.Told(v, now)
	}
	f := &a.record
	*f = finding.Finding{
		ID:         v.ID,
		Kind:       v.Kind,
		Reason:     v.Reason,
		Status:     v.Status,
		Outcome:    v.Outcome,
		Time:       wall,
		Since:      a.since(v, now, wall),
		SinceExact: v.Exact && !a.cfg.Polled,
		Duration:   v.At - v.Since,
		Threshold:  v.Threshold,
		Sock:       v.Sock,
		Live:       v.Live,
		Owner:      *v.Owner,
		Stack:      a.stackSaid(v),
		Peer:       v.Peer,
		Listener:   v.Listener,
	}
	f.Goroutines = a.goroutines(f)
	if v.Live {
		f.GivesUp = explain.GivesUp(&v.Sock)
	}
	a.addOrigin(f, v.Since, now)
	f.Message = explain.Message(f)
	a.say(v, f)
	a.measure(v, f)
}

func (a *Agent) since(v *detect.Verdict, now time.Duration, wall time.Time) time.Time {
	if o, ok := a.open[v.ID]; ok {
		return o.since
	}
	return wall.Add(v.Since - now)
}

func (a *Agent) measure(v *detect.Verdict, f *finding.Finding) {
	switch v.Status {
	case finding.Open:
		a.open[v.ID] = opened{reason: v.Reason, workload: f.Workload, since: f.Since, stack: v.Stack}
		a.stacks.opened(v)
		a.meter.Opened(v.Kind, v.Reason, f.Workload)
		a.meter.Attributed(f.Owner.Process.Relation)
		if v.Exact && v.Since >= a.started {
			a.meter.Delay(v.At - v.Due)
		}
	case finding.Update:
		old := a.open[v.ID]
		a.meter.Changed(v.Kind, old.reason, v.Reason, old.workload, f.Workload)
		a.open[v.ID] = opened{reason: v.Reason, workload: f.Workload, since: old.since, stack: v.Stack}
		a.stacks.leaks(v)
	case finding.Resolved:
		old := a.open[v.ID]
		delete(a.open, v.ID)
		a.stacks.closed(v)
		a.meter.Resolved(v.Kind, old.reason, v.Outcome, v.At-v.Since, old.workload)
	case finding.StatusCount:
	}
}
