// Package sink takes encoded records to where they shall go. Each sink has a
// queue bounded in bytes and a goroutine of its own, so that one that is slow
// or dead delays neither the agent nor another sink. What does not fit is
// counted and dropped, transitions before findings.
package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Class says what a record is worth when the queue is full.
type Class uint8

// The classes. Records of one class are written in the order they were put;
// findings are written before transitions.
const (
	// Finding is for findings that open and notes of loss. They leave a quarter of
	// the queue for ends.
	Finding Class = iota
	// Transition is for the stream of state changes, which can be large.
	Transition
	classes
	// Update is for findings that go on. They are queued among the findings, while
	// those take half of the queue, and make room for others: the next one says
	// the same.
	Update
	// End is for findings that are resolved. They are queued among the findings,
	// and may take all of the queue: what an open says can be said later (Unsaid),
	// an end that is lost is lost for good.
	End
)

// queue is where a record of a class waits.
func (c Class) queue() Class {
	if c == Transition {
		return Transition
	}
	return Finding
}

// room is how many of a queue's bytes findings may take for one more of a class.
func (c Class) room(limit int) int {
	switch c {
	case Update:
		return limit / 2
	case Finding:
		return limit - limit/4
	}
	return limit
}

// ErrGone is wrapped by errors that no retry can cure: nobody reads any more.
var ErrGone = errors.New("nobody reads it any more")

// RejectedError is wrapped by an error of Write where records were refused for
// good. They belong to what need not be written again, and count as dropped.
type RejectedError struct {
	Records int
	Err     error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%d records were refused: %v", e.Records, e.Err)
}

func (e *RejectedError) Unwrap() error { return e.Err }

// BusyError is wrapped by an error of Write where whoever takes the records said when
// it wants to be asked again.
type BusyError struct {
	After time.Duration
	Err   error
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%v (asks to be left alone for %v)", e.Err, e.After)
}

func (e *BusyError) Unwrap() error { return e.Err }

// Writer writes whole records somewhere.
type Writer interface {
	// Write writes p, which holds whole records, and returns how many bytes
	// need not be written again. It returns early when ctx is done. An
	// error that wraps ErrGone is final; after any other the rest is
	// tried again, when a BusyError says or sooner or later. An error may
	// come with all of p written.
	Write(ctx context.Context, p []byte) (int, error)
	// Batch returns how many bytes of transitions may be written at once.
	Batch() int
	// Alive returns an error that wraps ErrGone if nobody reads any more.
	Alive() error
	Close() error
}

// Options are how a sink behaves; zero values mean the defaults.
type Options struct {
	// Name is used in errors.
	Name string
	// QueueBytes bounds the queue; default DefaultQueueBytes.
	QueueBytes int
	// FindingBatch is how many bytes of findings may be written at once;
	// default 0, each by itself.
	FindingBatch int
	// Linger is how long transitions are collected before they are written;
	// default 10 ms. Findings are never held back.
	Linger time.Duration
	// OnError is called when writing begins to fail, once until it works
	// again, and OnRecovered then. Both are called from the sink's goroutine.
	OnError     func(error)
	OnRecovered func()
}

const (
	// DefaultQueueBytes holds about 5,000 findings.
	DefaultQueueBytes = 8 << 20
	defaultLinger     = 10 * time.Millisecond
)

// Stats are counts of records since the start.
type Stats struct {
	// Queued and QueuedBytes are what waits now, CapacityBytes what may.
	Queued, QueuedBytes, CapacityBytes uint64

	Written uint64
	// DroppedFindings and DroppedTransitions did not fit, or were left over
	// when the sink was closed.
	DroppedFindings, DroppedTransitions uint64
	// Errors counts failed attempts to write.
	Errors uint64
}

// Sink queues records and writes them.
type Sink struct {
	opt   Options
	w     Writer
	batch int

	mu      sync.Mutex
	queues  [classes]fifo
	first   time.Time // when the oldest waiting transition came
	dropped [classes]uint64
	written uint64
	errors  uint64
	closing bool
	failure error // final
	lastErr error // nil while writing works
	// abandoned counts records whose writing was given up on Close.
	abandoned int

	wake   chan struct{}      // capacity 1
	closed chan struct{}      // closed when Close was called
	gone   chan struct{}      // closed on a final error
	done   chan struct{}      // closed when the goroutine ended
	ctx    context.Context    // of all writing
	giveUp context.CancelFunc // ends ctx
}

// New starts a sink that writes to w. The sink owns w and closes it.
func New(w Writer, opt Options) *Sink {
	if opt.QueueBytes <= 0 {
		opt.QueueBytes = DefaultQueueBytes
	}
	if opt.Linger <= 0 {
		opt.Linger = defaultLinger
	}
	if opt.OnError == nil {
		opt.OnError = func(error) {}
	}
	if opt.OnRecovered == nil {
		opt.OnRecovered = func() {}
	}
	s := &Sink{
		opt: opt, w: w, batch: w.Batch(),
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
		gone: make(chan struct{}), done: make(chan struct{}),
	}
	s.ctx, s.giveUp = context.WithCancel(context.Background())
	go s.run()
	return s
}

// Put queues a copy of one record, which ends in a newline. It never waits. It
// returns false if the record was dropped.
func (s *Sink) Put(class Class, record []byte) bool { return s.PutThen(class, record, nil) }

// PutThen is Put, after whose last byte was written then is called, from the sink's
// goroutine; nil is nothing. It is not called for a record that was dropped, at once or
// later. For one that was refused it is: that would be refused again.
func (s *Sink) PutThen(class Class, record []byte, then func()) bool {
	s.mu.Lock()
	if s.closing || s.failure != nil || !s.makeRoom(class, len(record)) {
		s.dropped[class.queue()]++
		s.mu.Unlock()
		return false
	}
	q := &s.queues[class.queue()]
	before := q.bytes
	q.pushMarked(record, class == Update, then)
	wake := class != Transition
	if !wake {
		if before == 0 {
			s.first = time.Now()
		}
		// The goroutine sleeps until the first transition comes, and
		// lingers until there is a batch.
		wake = before == 0 || before < s.batch && q.bytes >= s.batch
	}
	s.mu.Unlock()
	if wake {
		s.signal()
	}
	return true
}

// makeRoom reports whether n more bytes fit. If it has to, it drops the newest
// transitions for the sake of a finding, and the oldest updates for one that opens or ends.
func (s *Sink) makeRoom(class Class, n int) bool {
	findings, transitions := &s.queues[Finding], &s.queues[Transition]
	limit := s.opt.QueueBytes
	if class == Transition {
		return findings.bytes+transitions.bytes+n <= limit
	}
	for findings.bytes+n > class.room(limit) {
		dropped := 0
		if class != Update && n <= limit {
			dropped = findings.dropIdle()
		}
		if dropped == 0 {
			return false
		}
		s.dropped[Finding] += uint64(dropped)
	}
	for findings.bytes+transitions.bytes+n > limit {
		transitions.dropNewest()
		s.dropped[Transition]++
	}
	return true
}

// Leave counts a record as dropped that was not put, because without one that was
// dropped before it says nothing.
func (s *Sink) Leave(class Class) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped[class.queue()]++
}

func (s *Sink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Gone is closed once writing failed for good; Err then tells why.
func (s *Sink) Gone() <-chan struct{} { return s.gone }

// Err returns the error that ended the sink, nil as long as it works.
func (s *Sink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Stats returns the counters.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Written: s.written, Errors: s.errors, CapacityBytes: uint64(s.opt.QueueBytes),
		DroppedFindings: s.dropped[Finding], DroppedTransitions: s.dropped[Transition],
	}
	for i := range s.queues {
		st.Queued += uint64(s.queues[i].records)
		st.QueuedBytes += uint64(s.queues[i].bytes)
	}
	return st
}

// Close writes what is queued until ctx is done and closes the writer. Records
// that come later are dropped. It returns an error if records were left over
// or the sink failed before.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	if first {
		close(s.closed)
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		s.giveUp()
		// A writer heeds its context within a moment, except where the
		// kernel blocks it for good (a hanging file system, for example).
		select {
		case <-s.done:
		case <-time.After(giveUpWithin):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return s.failure
	}
	n := s.dropQueued() + s.abandoned
	if n == 0 {
		return nil
	}
	why := s.lastErr
	if why == nil {
		why = context.Cause(ctx)
	}
	return fmt.Errorf("closing %s: %d records not written: %w", s.opt.Name, n, why)
}

const giveUpWithin = 500 * time.Millisecond

// CloseAll closes sinks side by side, so that one that takes all the time there
// is takes none of the others'.
func CloseAll(ctx context.Context, sinks ...*Sink) error {
	errs := make([]error, len(sinks))
	var wg sync.WaitGroup
	for i, s := range sinks {
		wg.Go(func() { errs[i] = s.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// dropQueued empties the queues and counts what was in them as dropped.
func (s *Sink) dropQueued() int {
	total := 0
	for class := range s.queues {
		n := s.queues[class].records
		s.dropped[class] += uint64(n)
		s.queues[class] = fifo{}
		total += n
	}
	return total
}
