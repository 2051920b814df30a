package sink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCloseGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{Name: "stdout", OnError: func(err error) { t.Errorf("told %v", err) }})
		for i := range 3 {
			s.Put(Finding, line("f", i))
			s.Put(Transition, line("t", i))
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.Close(ctx)
		if took := time.Since(start); took != time.Second {
			t.Errorf("closing took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "closing stdout: 6 records not written") {
			t.Errorf("closing: %v", err)
		}
		if st := s.Stats(); st.DroppedFindings != 3 || st.DroppedTransitions != 3 || !w.closed {
			t.Errorf("stats %+v, writer closed: %v", st, w.closed)
		}
	})
}

func TestCloseNamesTheErrorThatHeldItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{}
		w.set(errors.New("disk full"), 0)
		s := New(w, Options{Name: "log file"})
		s.Put(Finding, line("f", 0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err == nil || err.Error() != "closing log file: 1 records not written: disk full" {
			t.Errorf("closing: %v", err)
		}
	})
}

func TestCloseAllIsFairToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := New(&fakeWriter{blocked: make(chan struct{})}, Options{Name: "stdout"})
		w := &fakeWriter{}
		w.set(errors.New("disk full"), 0)
		late := New(w, Options{Name: "log file"})
		stuck.Put(Finding, line("f", 0))
		late.Put(Finding, line("f", 0))
		go func() {
			// Not at a tenth: attempts are 100 ms apart, and the last one
			// would come in the moment of the deadline.
			time.Sleep(840 * time.Millisecond)
			w.set(nil, 0)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := CloseAll(ctx, stuck, late)
		if err == nil || err.Error() != "closing stdout: 1 records not written: context deadline exceeded" {
			t.Errorf("closing: %v", err)
		}
		if w.text() != string(line("f", 0)) {
			t.Errorf("the other sink wrote %q", w.text())
		}
	})
}
