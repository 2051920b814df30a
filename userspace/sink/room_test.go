package sink

import (
	"testing"
	"testing/synctest"
)

// TestRoomByClass: updates take half of a queue at most, what opens leaves a quarter
// for ends, and all of them stay in their place among the findings.
func TestRoomByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{QueueBytes: 108}) // twelve records
		s.Put(Finding, line("f", 0))
		synctest.Wait() // it is under way, and not in the queue
		want := string(line("f", 0))
		for _, step := range []struct {
			class   Class
			name    string
			put, in int
		}{
			{Update, "u", 8, 6}, {Finding, "o", 6, 3}, {Update, "v", 1, 0}, {End, "e", 5, 3}, {Finding, "p", 1, 0},
		} {
			for i := range step.put {
				if got := s.Put(step.class, line(step.name, i)); got != (i < step.in) {
					t.Errorf("%s%d taken: %v", step.name, i, got)
				}
			}
			for i := range step.in {
				want += string(line(step.name, i))
			}
		}
		s.Leave(End)
		close(w.blocked)
		closeSink(t, s)
		if got := w.text(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
		if st := s.Stats(); st.DroppedFindings != 10 || st.Written != 13 {
			t.Errorf("%+v", st)
		}
	})
}
