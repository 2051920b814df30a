package tracer

import (
	"maps"
	"testing"
	"time"
)

// Sockets that get stuck while thousands of others come and go are all announced,
// also those whose slot is wanted again before anybody looked.
func TestPromotionBesideChurn(t *testing.T) {
	for _, slots := range []uint32{64, 8192} {
		ns := newNamespace(t)
		tr := attached(t, Options{Watch: stuckStates, YoungSlots: slots})
		seen := watching(ns)
		for range 2 {
			churn(t, ns, listen(t, ipv4, 16), false)
		}
		cookies := map[uint64]bool{}
		for range 20 {
			maps.Copy(cookies, closeWaits(t, 50))
			if err := tr.Age(20*time.Millisecond, func() error { seen.take(t, tr); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		seen.age(t, tr)
		if n := unannounced(seen, cookies); n != 0 {
			t.Errorf("%d slots: %d of %d sockets were not announced; %+v", slots, n, len(cookies), statsOf(t, tr))
		}
	}
}
