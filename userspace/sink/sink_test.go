package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeWriter keeps what is written and fails or waits as it is told.
type fakeWriter struct {
	mu      sync.Mutex
	writes  []string
	err     error // returned by each write while set
	partial int   // bytes taken by the first failing write
	deaf    error // returned by Alive
	closed  bool
	blocked chan struct{} // writes wait until it is closed
}

func (w *fakeWriter) Write(ctx context.Context, p []byte) (int, error) {
	if w.blocked != nil {
		select {
		case <-w.blocked:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	if w.err != nil {
		n = min(w.partial, n)
		w.partial = 0
	}
	if n > 0 {
		w.writes = append(w.writes, string(p[:n]))
	}
	return n, w.err
}

func (w *fakeWriter) Batch() int { return 100 }

func (w *fakeWriter) Alive() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deaf
}

func (w *fakeWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func (w *fakeWriter) set(err error, partial int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err, w.partial = err, partial
}

func (w *fakeWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.writes, "")
}

func line(prefix string, i int) []byte { return fmt.Appendf(nil, "%s%07d\n", prefix, i) } // 9 bytes with one letter

// closeSink closes and checks that nothing was left. The limit is for what hangs: a
// sink that was given up may still write, and files rotate under the reader.
func closeSink(t *testing.T, s *Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatalf("closing: %v", err)
	}
}

func TestFindingsFirstAndAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{})
		s.Put(Finding, line("f", 0))
		synctest.Wait() // The first one is being written, all others wait.
		for i := range 30 {
			s.Put(Transition, line("t", i))
		}
		for i := range 3 {
			s.Put(Finding, line("f", i+1))
		}
		close(w.blocked)
		closeSink(t, s)
		want := []string{string(line("f", 0)), string(line("f", 1)), string(line("f", 2)), string(line("f", 3))}
		for i, one := range want {
			if i >= len(w.writes) || w.writes[i] != one {
				t.Fatalf("writes %q, want to begin with %q", w.writes, want)
			}
		}
		// 30 records of 9 bytes in batches of at most 100.
		if rest := w.writes[len(want):]; len(rest) != 3 || len(rest[0]) != 99 || len(rest[1]) != 99 || len(rest[2]) != 72 {
			t.Errorf("transitions were written as %q", rest)
		}
		if st := s.Stats(); st.Written != 34 || st.Queued != 0 || st.DroppedFindings+st.DroppedTransitions != 0 {
			t.Errorf("stats %+v", st)
		}
		if !w.closed {
			t.Error("the writer was not closed")
		}
	})
}

func TestFullQueueDropsNewestTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{QueueBytes: 90}) // ten records
		s.Put(Finding, line("f", 0))
		synctest.Wait()
		for i := range 12 {
			if kept := s.Put(Transition, line("t", i)); kept != (i < 10) {
				t.Errorf("transition %d kept: %v", i, kept)
			}
		}
		for i := range 12 {
			if kept := s.Put(End, line("f", i+1)); kept != (i < 10) {
				t.Errorf("finding %d kept: %v", i, kept)
			}
			if i == 2 { // The three newest transitions made room.
				if st := s.Stats(); st.DroppedTransitions != 2+3 || st.DroppedFindings != 0 || st.QueuedBytes != 90 {
					t.Errorf("after three findings: %+v", st)
				}
			}
		}
		if s.Put(Transition, line("t", 99)) {
			t.Error("a transition pushed findings out")
		}
		close(w.blocked)
		closeSink(t, s)
		st := s.Stats()
		if st.DroppedTransitions != 13 || st.DroppedFindings != 2 || st.Written != 11 {
			t.Errorf("stats %+v", st)
		}
		if strings.Contains(w.text(), "t") {
			t.Errorf("transitions stayed although findings were dropped: %q", w.text())
		}
	})
}

func TestRecordLargerThanTheQueue(t *testing.T) {
	s := New(&fakeWriter{}, Options{QueueBytes: 10})
	for _, class := range []Class{Finding, Transition} {
		if s.Put(class, bytes.Repeat([]byte("x"), 11)) {
			t.Errorf("class %d: a record larger than the queue was kept", class)
		}
	}
	closeSink(t, s)
}

func TestErrorsAreRetriedAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{}
		w.set(errors.New("disk full"), 3)
		var told []string
		s := New(w, Options{
			OnError:     func(err error) { told = append(told, err.Error()) },
			OnRecovered: func() { told = append(told, "recovered") },
		})
		for i := range 5 {
			s.Put(Finding, line("f", i))
		}
		time.Sleep(50 * time.Second) // in the bubble
		if st := s.Stats(); st.Errors < 10 || st.Errors > 30 || st.Written != 0 {
			t.Errorf("while it fails: %+v", st)
		}
		w.set(nil, 0)
		time.Sleep(maxBackoff + time.Second)
		if st := s.Stats(); st.Written != 5 || st.Queued != 0 {
			t.Errorf("after it: %+v", st)
		}
		closeSink(t, s)
		want := string(line("f", 0)) + string(line("f", 1)) + string(line("f", 2)) + string(line("f", 3)) + string(line("f", 4))
		if w.text() != want {
			t.Errorf("written %q, want %q", w.text(), want)
		}
		if strings.Join(told, ", ") != "disk full, recovered" {
			t.Errorf("told %q", told)
		}
	})
}

func TestGoneReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{}
		var told []error
		s := New(w, Options{Name: "stdout", OnError: func(err error) { told = append(told, err) }})
		s.Put(Finding, line("f", 0))
		synctest.Wait()
		w.set(fmt.Errorf("broken pipe: %w", ErrGone), 0)
		s.Put(Finding, line("f", 1))
		<-s.Gone()
		if !errors.Is(s.Err(), ErrGone) || len(told) != 1 {
			t.Errorf("error %v, told %v", s.Err(), told)
		}
		if s.Put(Finding, line("f", 2)) {
			t.Error("a dead sink took a record")
		}
		err := s.Close(t.Context())
		if !errors.Is(err, ErrGone) {
			t.Errorf("closing: %v", err)
		}
		if st := s.Stats(); st.Written != 1 || st.DroppedFindings != 2 || !w.closed {
			t.Errorf("stats %+v, writer closed: %v", st, w.closed)
		}
	})
}

func TestIdleSinkNoticesThatTheReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{deaf: ErrGone}
		s := New(w, Options{})
		start := time.Now()
		<-s.Gone()
		if took := time.Since(start); took > 2*aliveInterval {
			t.Errorf("noticed after %v", took)
		}
		_ = s.Close(t.Context())
	})
}

func TestTransitionsLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{}
		s := New(w, Options{Linger: 10 * time.Millisecond})
		s.Put(Transition, line("t", 0))
		time.Sleep(9 * time.Millisecond)
		s.Put(Transition, line("t", 1))
		synctest.Wait()
		if got := w.text(); got != "" {
			t.Errorf("written before its time: %q", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if len(w.writes) != 1 || len(w.text()) != 18 {
			t.Errorf("writes %q, want one with both", w.writes)
		}
		for i := range 12 { // a full batch does not wait
			s.Put(Transition, line("t", i))
		}
		synctest.Wait()
		if len(w.writes) < 2 {
			t.Error("a full batch lingers")
		}
		closeSink(t, s)
	})
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	w := &fakeWriter{}
	s := New(w, Options{QueueBytes: 4000})
	var wg sync.WaitGroup
	const producers, each = 4, 5000
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				s.Put(Class(p%2), line(string(rune('a'+p)), i))
				_ = s.Stats()
			}
		})
	}
	wg.Wait()
	closeSink(t, s)
	st := s.Stats()
	if sum := st.Written + st.DroppedFindings + st.DroppedTransitions; sum != producers*each || st.Queued != 0 {
		t.Errorf("%d records counted, want %d: %+v", sum, producers*each, st)
	}
	last := map[byte]string{}
	count := uint64(0)
	for l := range strings.Lines(w.text()) {
		if l <= last[l[0]] {
			t.Fatalf("%q after %q", l, last[l[0]])
		}
		last[l[0]] = l
		count++
	}
	if count != st.Written {
		t.Errorf("%d lines written, %d counted", count, st.Written)
	}
}

func BenchmarkPut(b *testing.B) {
	s := New(nullWriter{}, Options{})
	record := bytes.Repeat([]byte("x"), 600)
	b.ReportAllocs()
	for b.Loop() {
		s.Put(Transition, record)
	}
	_ = s.Close(b.Context())
}

type nullWriter struct{}

func (nullWriter) Write(_ context.Context, p []byte) (int, error) { return len(p), nil }
func (nullWriter) Batch() int                                     { return fileBatch }
func (nullWriter) Alive() error                                   { return nil }
func (nullWriter) Close() error                                   { return nil }
