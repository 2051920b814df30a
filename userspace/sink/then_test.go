package sink

import (
	"testing"
	"testing/synctest"
)

func TestThenFollowsTheWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWriter{blocked: make(chan struct{})}
		s := New(w, Options{QueueBytes: 80})
		var followed []string
		put := func(i int) bool {
			return s.PutThen(Finding, line("f", i), func() { followed = append(followed, w.text()) })
		}
		s.Put(Finding, line("f", 0))
		s.Put(Transition, line("t", 0))
		for i := range 3 {
			if !put(i + 1) {
				t.Fatalf("record %d was dropped", i+1)
			}
			s.Put(Finding, line("f", 9))
		}
		if put(8) {
			t.Error("there was room for more than there is")
		}
		synctest.Wait()
		if len(followed) != 0 {
			t.Errorf("followed before the writing: %q", followed)
		}
		close(w.blocked)
		closeSink(t, s)
		if len(followed) != 3 {
			t.Fatalf("followed %q", followed)
		}
		for i, text := range followed {
			// After its own record and before the next one.
			if want := string(line("f", i+1)); len(text) < 9 || text[len(text)-9:] != want {
				t.Errorf("%q, want it to end with %q", text, want)
			}
		}
	})
}
