package ticker

import (
	"os"
	"testing"
	"time"
)

func begin(t *testing.T, period time.Duration) *Ticker {
	t.Helper()
	tick, err := New(period)
	if err != nil {
		t.Fatal(err)
	}
	return tick
}

// Ticks come at their pace: ten of them take no less than nine periods.
func TestTicks(t *testing.T) {
	const period = 5 * time.Millisecond
	tick := begin(t, period)
	defer tick.Stop()
	begun := time.Now()
	for range 10 {
		<-tick.Chan()
	}
	if took := time.Since(begun); took < 9*period {
		t.Errorf("ten ticks of %v in %v", period, took)
	}
}

func TestReset(t *testing.T) {
	tick := begin(t, time.Hour)
	defer tick.Stop()
	tick.Reset(time.Millisecond)
	<-tick.Chan()
	<-tick.Chan()
	tick.Reset(time.Hour)
	// One may have come before.
	select {
	case <-tick.Chan():
	default:
	}
	select {
	case <-tick.Chan():
		t.Error("ticked within an hour")
	case <-time.After(20 * time.Millisecond):
	}
}

// Who is late finds one tick, not all that were.
func TestLate(t *testing.T) {
	tick := begin(t, time.Millisecond)
	defer tick.Stop()
	<-tick.Chan()
	time.Sleep(50 * time.Millisecond)
	tick.Reset(time.Hour)
	late := 0
	for {
		select {
		case <-tick.Chan():
			late++
			continue
		case <-time.After(20 * time.Millisecond):
		}
		break
	}
	// One waits in the channel, one may have been on its way.
	if late < 1 || late > 2 {
		t.Errorf("%d ticks were waiting", late)
	}
}

// Stop frees descriptor and goroutine, however often.
func TestStop(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	begin(t, time.Hour).Stop()
	before := open()
	for range 50 {
		tick := begin(t, time.Millisecond)
		<-tick.Chan()
		tick.Stop()
		tick.Stop()
		tick.Reset(time.Millisecond)
	}
	for deadline := time.Now().Add(10 * time.Second); open() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors, %d before", open(), before)
		}
	}
}
