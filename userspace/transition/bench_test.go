package transition

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// BenchmarkConvert counts one record an operation: connections of 4 transitions
// each, in batches as trace makes them.
func BenchmarkConvert(b *testing.B) {
	const batch = 4096
	c := New(new(fakeKernel).read)
	events := make([]flow.Event, 0, batch)
	for i := range uint64(batch / 4) {
		at := time.Second + time.Duration(i)
		events = append(events,
			withPort(event(i*64, i+1, at, closed, synSent), 0), event(i*64, i+1, at+1, synSent, established),
			event(i*64, i+1, at+2, established, closeWait), event(i*64, i+1, at+3, closeWait, closed))
	}
	records, again := 0, make([]flow.Event, batch)
	b.ReportAllocs()
	left := 0
	for b.Loop() {
		if left--; left > 0 {
			continue
		}
		copy(again, events)
		if err := c.Convert(again, wallAtBoot, func(*finding.Transition) { records++ }); err != nil {
			b.Fatal(err)
		}
		left = batch
	}
	if records == 0 || records%batch != 0 {
		b.Fatalf("%d records", records)
	}
}
