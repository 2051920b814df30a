package tracer

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// valuesMax is VALUES of bpf/maps.h: sockets a run can read.
const valuesMax = 512

// Read reads the present values of sockets whose ID is known, in place. A
// socket that is not there any more, or whose address serves another one now,
// keeps its ID and gets Gone. With track, sockets in a watched state become
// part of the old generation, so that their events are sent; those that find no
// room there are marked Untracked.
func (t *Tracer) Read(socks []*flow.Sock, track bool) error {
	for len(socks) > 0 {
		n := min(len(socks), valuesMax)
		if err := t.readBatch(socks[:n], track); err != nil {
			return err
		}
		socks = socks[n:]
	}
	return nil
}

func (t *Tracer) readBatch(socks []*flow.Sock, track bool) error {
	buf := t.valuesBuf[:len(socks)*valuesSize]
	clear(buf)
	for i, s := range socks {
		binary.LittleEndian.PutUint64(buf[i*valuesSize:], s.Addr)
		binary.LittleEndian.PutUint64(buf[i*valuesSize+8:], s.Cookie)
	}
	var tracking uint64
	if track {
		tracking = 1
	}
	if _, err := t.values.WriteAt(buf, 0); err != nil {
		return fmt.Errorf("writing values: %w", err)
	}
	if _, err := t.run(t.objs.LimboRead, uint64(len(socks)), tracking); err != nil {
		return fmt.Errorf("running limbo_read: %w", err)
	}
	if _, err := t.values.ReadAt(buf, 0); err != nil {
		return fmt.Errorf("reading values: %w", err)
	}
	for i, s := range socks {
		asked, hash := s.ID, s.Hash
		if err := t.decode.values(buf[i*valuesSize:], s); err != nil {
			return err
		}
		if s.Gone || !sameSocket(asked, hash, s) {
			*s = flow.Sock{ID: asked, Gone: true}
		}
	}
	return t.Causes(socks)
}

// sameSocket tells whether what was read is the socket that was meant. Without
// a cookie (5.10) ports and peer have to do; where nothing is known yet, the
// caller has just been given the address. A minisocket needs both: its memory is
// used again at once, and a reading that this comes in between has the cookie of
// the first life and the rest of the second.
func sameSocket(asked flow.ID, hash uint32, read *flow.Sock) bool {
	if asked.Cookie != 0 && (asked.Cookie != read.Cookie || !read.TimeWait) {
		return asked.Cookie == read.Cookie
	}
	if !asked.Peer.IsValid() {
		return hash == 0 || hash == read.Hash
	}
	return asked.NetNS == read.NetNS && asked.Peer == read.Peer &&
		(asked.Local == read.Local || asked.Local.Port() == 0)
}

// Walk calls fn for every socket on the host, in any network namespace, that
// is in one of the states. The socket is only valid during the call.
func (t *Tracer) Walk(want flow.WalkStates, fn func(*flow.Sock)) error {
	t.walkNext = 0
	for {
		done, err := t.WalkSome(want, fn)
		if err != nil || done {
			return err
		}
	}
}

// WalkSome does one step of a walk, at most some 8,000 buckets or 512 sockets,
// and reports whether the walk came to the table's end (the next call begins
// anew).
func (t *Tracer) WalkSome(want flow.WalkStates, fn func(*flow.Sock)) (done bool, err error) {
	if err := t.setWalk(want); err != nil {
		return false, err
	}
	if _, err := t.run(t.objs.LimboWalk); err != nil {
		return false, fmt.Errorf("running limbo_walk: %w", err)
	}
	var walk limboWalkState
	if err := t.objs.Walk.Get(&walk); err != nil {
		return false, fmt.Errorf("reading walk: %w", err)
	}
	if walk.Next == t.walkNext {
		// Cannot be: a chain always fits into empty values.
		return true, fmt.Errorf("walking connections: no progress at bucket %d", walk.Next)
	}
	t.walkNext = walk.Next
	if walk.Next >= t.buckets {
		t.walkNext, done = 0, true
	}
	buf := t.valuesBuf[:int(min(walk.Count, valuesMax))*valuesSize]
	if _, err := t.values.ReadAt(buf, 0); err != nil {
		return done, fmt.Errorf("reading values: %w", err)
	}
	for len(buf) > 0 {
		if err := t.decode.values(buf, &t.walkBuf); err != nil {
			return done, err
		}
		fn(&t.walkBuf)
		buf = buf[valuesSize:]
	}
	return done, nil
}

func (t *Tracer) setWalk(want flow.WalkStates) error {
	var walk limboWalkState
	if err := t.objs.Walk.Get(&walk); err != nil {
		return fmt.Errorf("reading walk: %w", err)
	}
	walk.Next = t.walkNext
	if walk.Next == 0 && !t.facing {
		if err := t.objs.Census.Set([censusStates]uint64{}); err != nil {
			return fmt.Errorf("setting census: %w", err)
		}
	}
	if walk.Next == 0 && want.Waiting {
		if err := t.resetQueues(); err != nil {
			return err
		}
	}
	if err := t.objs.Walk.Set(walk); err != nil {
		return fmt.Errorf("setting walk: %w", err)
	}
	if err := t.objs.WalkStates.Set(uint32(want.States)); err != nil {
		return fmt.Errorf("setting walk_states: %w", err)
	}
	return t.setWaiting(want)
}

func (t *Tracer) setWaiting(want flow.WalkStates) error {
	for _, v := range []struct {
		name  string
		to    *ebpf.Variable
		value uint32
	}{
		{"walk_timewait", t.objs.WalkTimewait, bit(want.TimeWait)},
		{"walk_waiting", t.objs.WalkWaiting, bit(want.Waiting)},
		{"walk_quiet", t.objs.WalkQuiet, uint32(t.inJiffies(want.Quiet))},
		{"walk_idle", t.objs.WalkIdle, uint32(t.inJiffies(want.Idle))},
	} {
		if err := v.to.Set(v.value); err != nil {
			return fmt.Errorf("setting %s: %w", v.name, err)
		}
	}
	return nil
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// Recall returns what the old generation knows of a socket: who connected or
// closed it, as captured in process context, and since when it has been in its
// state (0 if it was there before the agent). False if it does not hold it.
func (t *Tracer) Recall(key flow.Key) (opener flow.Task, since time.Duration, ok bool) {
	var p limboPromoted
	if err := t.objs.OldGeneration.Lookup(key.Addr, &p); err != nil || p.Cookie != key.Cookie {
		return flow.Task{}, 0, false
	}
	if p.Task.Pid != 0 {
		opener = flow.Task{
			PID: p.Task.Pid, TID: p.Task.Tid, UID: p.Task.Uid,
			Comm: t.decode.comm(p.Task.Comm[:]),
		}
	}
	return opener, time.Duration(p.SinceNs), true
}
