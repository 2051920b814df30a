package sink

import (
	"testing"
	"testing/synctest"
)

// TestRoomByClass: updates take half of a queue at most and make room for others, what
// opens leaves a quarter for ends, and what stays does so in its place.
func TestRoomByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{QueueBytes: 108}) // twelve records
		s.Put(Finding, line("f", 0))
		synctest.Wait() // it is under way, and not in the queue
		followed := 0
		s.PutThen(Update, line("u", 0), func() { followed++ })
		for _, step := range []struct {
			class   Class
			name    string
			put, in int
			queued  uint64
		}{
			{Update, "u", 7, 5, 6},
			{Finding, "o", 3, 3, 9},
			{Update, "v", 1, 0, 9},
			{Finding, "p", 6, 6, 9}, // the updates go; nine take three quarters
			{Finding, "q", 1, 0, 9},
			{End, "e", 4, 3, 12},
		} {
			for i := range step.put {
				if got := s.Put(step.class, line(step.name, i)); got != (i < step.in) {
					t.Errorf("%s%d taken: %v", step.name, i, got)
				}
			}
			if n := s.Stats().Queued; n != step.queued {
				t.Errorf("after %s %d wait, want %d", step.name, n, step.queued)
			}
		}
		s.PutThen(End, line("e", 9), func() { followed++ }) // there is no room
		s.Leave(End)
		close(w.blocked)
		closeSink(t, s)
		want := string(line("f", 0))
		for _, part := range []struct {
			name string
			n    int
		}{{"o", 3}, {"p", 6}, {"e", 3}} {
			for i := range part.n {
				want += string(line(part.name, i))
			}
		}
		if got := w.text(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
		// Two updates at once and six for the sake of others, then v, q, e, e and what was left out.
		if st := s.Stats(); st.DroppedFindings != 13 || st.Written != 13 || followed != 0 {
			t.Errorf("%+v, %d followed", st, followed)
		}
	})
}
