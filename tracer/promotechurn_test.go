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
			if n := unannounced(seen, cookies); n != 0 {
				t.Errorf("%d of %d sockets were not announced; %+v", n, len(cookies), statsOf(t, tr))
			}
		})
	}
}
