package sink

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// picky takes batches and refuses what it is told to.
type picky struct {
	fakeWriter
	refuse func(p []byte) (n int, err error)
}

func (w *picky) Write(ctx context.Context, p []byte) (int, error) {
	if w.refuse != nil {
		if n, err := w.refuse(p); err != nil {
			return n, err
		}
	}
	return w.fakeWriter.Write(ctx, p)
}

// TestRefusedRecordsAreDropped: they are not tried again, count as dropped, and
// what stands behind them is written.
func TestRefusedRecordsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		w := &picky{}
		w.refuse = func(p []byte) (int, error) {
			w.refuse = nil
			return 9, &RejectedError{Records: 1, Err: errors.New("no")}
		}
		gate := make(chan struct{})
		w.blocked = gate
		s := New(w, Options{FindingBatch: 1 << 10, OnError: func(error) { told++ }})
		for i := range 4 {
			s.Put(Finding, line("f", i))
		}
		synctest.Wait()
		close(gate)
		closeSink(t, s)
		st := s.Stats()
		if st.Written+st.DroppedFindings != 4 || st.DroppedFindings != 1 || told != 1 {
			t.Errorf("%+v, told %d times", st, told)
		}
		if got := w.text(); len(got) != 3*9 {
			t.Errorf("wrote %q", got)
		}
	})
}

// TestFindingsInBatches: what came while a request was under way goes in one.
func TestFindingsInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{FindingBatch: 27})
		for i := range 8 {
			s.Put(Finding, line("f", i))
			synctest.Wait() // the first is under way
		}
		close(w.blocked)
		closeSink(t, s)
		var sizes []int
		for _, b := range w.writes {
			sizes = append(sizes, len(b)/9)
		}
		if !slices.Equal(sizes, []int{1, 3, 3, 1}) {
			t.Errorf("batches of %v records", sizes)
		}
		if st := s.Stats(); st.Written != 8 {
			t.Errorf("%+v", st)
		}
	})
}
