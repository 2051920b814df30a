package writequeue

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// Followed is a connection that is read again and again until what it had written
// at one moment is acknowledged.
type Followed struct {
	flow.Pair
	Sock flow.Sock
	// since is that moment, upTo the last byte, and next the bound at which the
	// socket is read next: at those before it was not acknowledged.
	since time.Duration
	upTo  uint32
	next  int
	// watching: something waits to be acknowledged.
	watching bool
}

// Begin takes the first reading, from moment at; false if nothing waits. The last
// byte that was written was sent when the last segment was; where some were not
// sent yet the program is ahead of the path, and it has just been written.
func (f *Followed) Begin(at time.Duration) bool {
	s := &f.Sock
	f.watching = waits(s) && f.Has(&s.ID)
	f.since, f.upTo, f.next = at, s.WriteSeq, 0
	if s.Unsent() == 0 && s.Retransmits == 0 {
		f.since -= max(s.LastSend, 0)
	}
	f.skip(at)
	return f.watching
}

// skip leaves out the bounds that are past; behind the last one nobody looks.
func (f *Followed) skip(at time.Duration) {
	for f.next < len(Bounds) && at-f.since >= Bounds[f.next] {
		f.next++
	}
	if f.next == len(Bounds) {
		f.watching = false
	}
}

func waits(s *flow.Sock) bool {
	return !s.Gone && s.State == flow.StateEstablished && s.WriteSeq != s.SndUna
}

// Due returns when it is to be read next; false if it is not followed.
func (f *Followed) Due() (time.Duration, bool) {
	if !f.watching {
		return 0, false
	}
	return f.since + Bounds[f.next], true
}

// Latest returns until when a reading that is due may wait for company, so that it still
// tells the bucket; false if it is not followed.
func (f *Followed) Latest() (time.Duration, bool) {
	due, ok := f.Due()
	if !ok {
		return 0, false
	}
	return due + company(Bounds[f.next]), true
}

// Take compares a reading from moment at with the first. It returns the bucket of
// the delay if that is known now; not if the reading came so late that it could be
// another one.
func (f *Followed) Take(at time.Duration) (bucket int, known bool) {
	s, after := &f.Sock, at-f.since
	if s.Gone || s.State != flow.StateEstablished {
		f.watching = false
		return 0, false
	}
	if int32(f.upTo-s.SndUna) <= 0 {
		f.watching = false
		return f.next, after <= Bounds[f.next]+late(Bounds[f.next])
	}
	f.skip(at)
	return f.next, !f.watching
}

// company is for how long a reading waits for another one: half of what it may miss its
// moment by, where that is more than what a wake-up misses it by anyway.
func company(bound time.Duration) time.Duration {
	if half := late(bound) / 2; half >= companyLeast {
		return half
	}
	return 0
}

const companyLeast = 5 * time.Millisecond

// late is by how much a reading may miss its moment: the daemon does other things
// too.
func late(bound time.Duration) time.Duration { return max(2*time.Millisecond, bound/10) }
