package detect

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// BenchmarkJudge is what one record costs: sockets that outlive a tick are
// promoted and soon go on, on a host where a thousand others are watched. By
// turns an operation is a promotion and the transition out.
func BenchmarkJudge(b *testing.B) {
	const others, passing = 1000, 512
	d := New(Config{Threshold: testThreshold, Tick: tick, NewID: noID})
	for i := range uint64(others) {
		d.Event(promotion(identity(1+i, 1+i), born+time.Duration(i)))
	}
	var events []*flow.Event
	for i := range uint64(passing) {
		id := identity(1<<40+i*64, 10_000+i)
		events = append(events, promotion(id, born+second), &flow.Event{
			Kind: flow.EventTransition, Time: born + second, ID: id, Old: flow.StateCloseWait, New: flow.StateClose,
		})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Event(events[i%len(events)])
		i++
	}
	if watched, flagged := d.size(); watched != others+i%2 || flagged != 0 {
		b.Fatalf("%d watched, %d flagged", watched, flagged)
	}
}

func promotion(id flow.ID, since time.Duration) *flow.Event {
	return &flow.Event{
		Kind: flow.EventPromoted, Time: born + second, Since: since, New: flow.StateCloseWait, ID: flow.ID{Key: id.Key},
	}
}

func noID(flow.ID, finding.Kind, time.Duration) string { return "" }

// BenchmarkJudgeReading is what a socket costs that is due, read and not flagged:
// it was closed long ago, and its data still moves.
func BenchmarkJudgeReading(b *testing.B) {
	const sockets = 1000
	d := New(Config{Threshold: testThreshold, Tick: tick, NewID: noID})
	reading := socket(0, 0, flow.StateFinWait1)
	reading.WriteSeq, reading.LastAck = 1000, second
	for i := range uint64(sockets) {
		e := promotion(identity(1+i, 1+i), born)
		e.New = flow.StateFinWait1
		d.Event(e)
	}
	b.ReportAllocs()
	now, left := born+60*second, 0
	for b.Loop() {
		if left--; left > 0 {
			continue // an operation is one socket, and these were judged together
		}
		due := d.Due(now)
		for _, s := range due {
			id := s.ID
			*s = reading
			s.ID = id
		}
		d.Judge(now)
		left = len(due)
		now += 60 * second
	}
	if watched, flagged := d.size(); watched != sockets || flagged != 0 || left < 0 {
		b.Fatalf("%d watched, %d flagged, %d left", watched, flagged, left)
	}
}

// What passes the detector without becoming a finding must not feed the garbage
// collector: it may be every connection of a busy host.
func TestUnflaggedAllocatesNothing(t *testing.T) {
	d := New(Config{Threshold: testThreshold, Tick: tick, NewID: noID})
	id := identity(1, 1)
	in := promotion(id, born)
	out := &flow.Event{Kind: flow.EventTransition, Time: born, ID: id, Old: flow.StateCloseWait, New: flow.StateClose}
	if n := testing.AllocsPerRun(1000, func() { d.Event(in); d.Event(out) }); n != 0 {
		t.Errorf("a socket that passes allocates %v times", n)
	}
	in.Untracked = true
	d.Event(in)
	now, read := born+29*second, 0
	n := testing.AllocsPerRun(1000, func() {
		d.Suspect(now)
		for _, s := range d.Due(now) {
			s.State = flow.StateCloseWait
			read++
		}
		d.Judge(now)
	})
	if n != 0 || read < 1000 {
		t.Errorf("a socket that is read allocates %v times (%d readings)", n, read)
	}
}
