package sink

import (
	"testing"
	"testing/synctest"
)

// TestUpdatesLeaveRoom: they take half of a queue at most, and stay in their place
// among the findings.
func TestUpdatesLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{QueueBytes: 90})
		s.Put(Finding, line("f", 0))
		synctest.Wait() // it is under way, and not in the queue
		for i := range 8 {
			if got := s.Put(Update, line("u", i)); got != (i < 5) {
				t.Errorf("update %d taken: %v", i, got)
			}
		}
		for i := range 6 {
			if got := s.Put(Finding, line("f", 1+i)); got != (i < 5) {
				t.Errorf("finding %d taken: %v", i, got)
			}
		}
		if s.Put(Update, line("u", 9)) {
			t.Error("an update took the place of a finding")
		}
		close(w.blocked)
		closeSink(t, s)
		want := string(line("f", 0))
		for i := range 5 {
			want += string(line("u", i))
		}
		for i := range 5 {
			want += string(line("f", 1+i))
		}
		if got := w.text(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
		if st := s.Stats(); st.DroppedFindings != 5 || st.Written != 11 {
			t.Errorf("%+v", st)
		}
	})
}
