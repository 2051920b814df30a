package sink

import (
	"bytes"
	"errors"
	"time"
)

const (
	// aliveInterval is how often an idle sink looks whether somebody still
	// reads. Without it "tcplimbo run | head -1" would run until the next
	// finding.
	aliveInterval = time.Second

	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	// closingBackoff keeps trying while Close waits.
	closingBackoff = 100 * time.Millisecond
)

// run writes until the sink is closed and drained, or fails for good.
func (s *Sink) run() {
	defer close(s.done)
	defer s.giveUp()
	var b batch
	for s.ctx.Err() == nil && s.Err() == nil {
		wait := s.next(&b)
		if b.records == 0 && wait == 0 {
			break
		}
		if b.records == 0 {
			s.sleep(wait)
			continue
		}
		s.write(&b)
	}
	if err := s.w.Close(); err != nil {
		s.report(err)
	}
}

// batch is what is written at once, and what follows that.
type batch struct {
	class     Class
	text      []byte
	records   int
	followers []func()
}

// next moves the records that are to be written now to b: findings, or a batch of
// transitions. Without any it returns how long to wait, 0 for the end.
func (s *Sink) next(b *batch) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.records = 0
	if s.queues[Finding].records > 0 {
		s.take(b, Finding, s.opt.FindingBatch)
		return 0
	}
	q := &s.queues[Transition]
	if q.records == 0 {
		if s.closing {
			return 0
		}
		return aliveInterval
	}
	if left := s.opt.Linger - time.Since(s.first); left > 0 && q.bytes < s.batch && !s.closing {
		return left
	}
	s.take(b, Transition, s.batch)
	return 0
}

func (s *Sink) take(b *batch, class Class, limit int) {
	q := &s.queues[class]
	b.class = class
	b.text, b.records = q.take(b.text[:0], limit)
	b.followers = append(b.followers[:0], q.followers...)
}

// sleep waits for something to do. A long wait is an idle one: then it looks
// after the reader.
func (s *Sink) sleep(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.wake:
	case <-s.closed:
	case <-s.ctx.Done():
	case <-timer.C:
		if wait != aliveInterval {
			return
		}
		if err := s.w.Alive(); err != nil {
			s.report(err)
			s.fail(err)
		}
	}
}

// write writes a batch, however often it takes, and calls what follows it.
func (s *Sink) write(b *batch) {
	rest, backoff, refused := b.text, minBackoff, 0
	for {
		m, err := s.w.Write(s.ctx, rest)
		rest = rest[m:]
		rejected, some := errors.AsType[*RejectedError](err)
		if some {
			refused += rejected.Records
		}
		switch {
		case err == nil:
			s.recovered()
		case s.ctx.Err() == nil:
			s.report(err)
		}
		if len(rest) == 0 {
			s.delivered(b.class, b.records, min(b.records, refused))
			for _, then := range b.followers {
				then()
			}
			return
		}
		if m > 0 {
			backoff = minBackoff
		}
		if some && m > 0 {
			continue // what comes after those that were refused
		}
		if errors.Is(err, ErrGone) || !s.backOff(pause(err, backoff)) {
			whole := recordsIn(b.text[:len(b.text)-len(rest)], b.records)
			s.count(b.class, whole, b.records-whole)
			s.fail(err)
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// pause returns how long to wait after an error.
func pause(err error, backoff time.Duration) time.Duration {
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return max(backoff, busy.After)
	}
	return backoff
}

// delivered counts a batch of n records that need not be written again, some of
// which were refused.
func (s *Sink) delivered(class Class, n, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += uint64(n - refused)
	s.dropped[class] += uint64(refused)
}

// recordsIn counts the whole records in the written part of a batch of n. One
// record may have several lines (console); several records have one each.
func recordsIn(written []byte, n int) int {
	if n == 1 {
		return 0
	}
	return min(n, bytes.Count(written, []byte{'\n'}))
}

// backOff waits before the next attempt; false if there shall be none.
func (s *Sink) backOff(d time.Duration) bool {
	closed := s.closed
	select {
	case <-closed:
		d, closed = min(d, closingBackoff), nil
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-closed:
	case <-s.ctx.Done():
	}
	return s.ctx.Err() == nil
}

func (s *Sink) count(class Class, written, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += uint64(written)
	s.dropped[class] += uint64(dropped)
	s.abandoned += dropped
}

// report counts a failed attempt and tells the first of several.
func (s *Sink) report(err error) {
	s.mu.Lock()
	first := s.lastErr == nil
	s.errors++
	s.lastErr = err
	s.mu.Unlock()
	if first {
		s.opt.OnError(err)
	}
}

// recovered tells that writing works again after it did not.
func (s *Sink) recovered() {
	s.mu.Lock()
	was := s.lastErr != nil
	s.lastErr = nil
	s.mu.Unlock()
	if was {
		s.opt.OnRecovered()
	}
}

// fail ends the sink if err is final. What waits is dropped.
func (s *Sink) fail(err error) {
	if !errors.Is(err, ErrGone) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return
	}
	s.failure = err
	s.dropQueued()
	close(s.gone)
}
