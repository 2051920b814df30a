package group

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// TestGrowth: what was there at the start is no growth, whenever it is flagged; a
// minute's growth is said of what was watched for a minute.
func TestGrowth(t *testing.T) {
	for name, services := range map[string]int{"one service": 1, "many services": 100} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			n := 0
			open := func(count int, age time.Duration, exact bool) {
				for range count {
					f := leaked(n, age)
					f.SinceExact = exact
					if services > 1 {
						f.Sock.Peer = f.Sock.Local // its port is another each time
					}
					b.opens(f)
					n++
				}
			}
			said := func(after time.Duration, words string, perMinute float64) {
				t.Helper()
				b.after(after)
				last := b.said[len(b.said)-1]
				if len(b.said) == 0 || last.Status == finding.Resolved || last.GrowthKnown != (perMinute != 0) || last.Growth != perMinute {
					t.Fatalf("after %s: %+v", after, last)
				}
				if grown := strings.Contains(last.Message, "more") || strings.Contains(last.Message, "fewer"); grown != (words != "") || !strings.Contains(last.Message, words) {
					t.Errorf("after %s: %q, want %q", after, last.Message, words)
				}
			}
			open(40, 5*time.Second, false) // at once
			said(0, "", 0)
			open(40, 15*time.Second, true) // flagged later, but older
			open(10, 8*time.Second, false) // at least so old
			said(pace, "", 0)
			open(15, time.Second, true)
			said(2*pace, "; 15 more in 30s", 0)
			open(20, 20*time.Second, true)
			said(4*pace, "; 30 more a minute", 30) // 35 in 70 s
			for i := range 30 {
				b.resolves(leaked(i, 0).ID)
			}
			said(time.Minute, "; 30 fewer a minute", -30)
		})
	}
}
