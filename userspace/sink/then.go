package sink

// then is what follows a finding: fn runs once all findings up to the one with the
// number were written.
type then struct {
	number uint64
	fn     func()
}

// PutThen is Put for what is no transition, after whose last byte was written fn is
// called, from the sink's goroutine. It is not called for a record that was dropped. For
// one that was refused it is: that would be refused again.
func (s *Sink) PutThen(class Class, record []byte, fn func()) bool {
	s.mu.Lock()
	if s.closing || s.failure != nil || !s.makeRoom(class, len(record)) {
		s.dropped[Finding]++
		s.mu.Unlock()
		return false
	}
	s.queues[Finding].push(record)
	s.accepted++
	s.thens = append(s.thens, then{s.accepted, fn})
	s.mu.Unlock()
	s.signal()
	return true
}

// follow runs what follows n findings that were written.
func (s *Sink) follow(n int) {
	s.mu.Lock()
	s.finished += uint64(n)
	var due []then
	for len(s.thens) > 0 && s.thens[0].number <= s.finished {
		due, s.thens = append(due, s.thens[0]), s.thens[1:]
	}
	s.mu.Unlock()
	for _, t := range due {
		t.fn()
	}
}
