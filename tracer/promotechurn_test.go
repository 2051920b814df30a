package tracer

import (
	"maps"
	"testing"
	"time"
)

// Sockets that get stuck while thousands of others come and go are all announced,
// also those whose slot is wanted again before anybody looked.
func TestPromotionBesideChurn(t *testing.T) {
	tests := []struct {
		name  string
		slots uint32
	}{
		{"a ring that comes round", 64},
		{"a ring that does not", 8192},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := newNamespace(t)
			tr := attached(t, Options{Watch: stuckStates, YoungSlots: tt.slots})
			seen := watching(ns)
			for range 2 {
				churn(t, ns, listen(t, ipv4, 16), false)
			}
			cookies := map[uint64]bool{}
			for range 20 {
				maps.Copy(cookies, closeWaits(t, 20))
				if err := tr.Age(20*time.Millisecond, func() error { seen.take(t, tr); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			seen.age(t, tr)
			// What the kernel hides it counts, and a walk follows.
			hidden := misses(tr.objs.LimboSetState)
			if tr.second.link != nil {
				statsOf(t, tr) // a difference counts if it is there twice
				hidden = statsOf(t, tr).Recursion
			}
			if n := unannounced(seen, cookies); uint64(n) > hidden {
				t.Errorf("%d of %d sockets were not announced, of %d transitions hidden; %+v", n, len(cookies), hidden, statsOf(t, tr))
			} else if n > 0 {
				t.Logf("%d of %d sockets were not announced, of %d transitions hidden", n, len(cookies), hidden)
			}
		})
	}
}
