package sink

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// FuzzFifo compares the queue with a plain slice of records. Each byte of ops
// is one step.
func FuzzFifo(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 0, 3}, 100)
	f.Add(bytes.Repeat([]byte{0, 0, 0, 1}, 200), 40_000)
	f.Add(bytes.Repeat([]byte{0, 0, 2}, 200), 70_000)
	f.Add(bytes.Repeat([]byte{0, 4, 1, 4, 5, 2}, 80), 20_000)
	f.Add(bytes.Repeat([]byte{4, 3, 0, 4, 2}, 80), 200)
	f.Fuzz(func(t *testing.T, ops []byte, size int) {
		size = 1 + max(size, -size)%100_000
		var q fifo
		var model [][]byte // idle ones begin with 'i'
		total := 0         // bytes in model
		for i, op := range ops[:min(len(ops), 500)] {
			switch op % 6 {
			case 0, 1:
				record := append(bytes.Repeat([]byte{'x'}, i*7919%size), '\n')
				q.push(record)
				model = append(model, record)
				total += len(record)
			case 2:
				limit := int(op) * 1000
				got, n := q.take([]byte("x"), limit)
				checkTaken(t, model, got[1:], n, limit)
				want := 0
				for _, record := range model[:n] {
					if isIdle(record) {
						want++
					}
				}
				if n > 0 && len(q.followers) != want {
					t.Fatalf("step %d: %d follow, want %d", i, len(q.followers), want)
				}
				model = model[n:]
				total -= len(got) - 1
			case 3:
				if len(model) > 0 {
					q.dropNewest()
					total -= len(model[len(model)-1])
					model = model[:len(model)-1]
				}
			case 4:
				record := append(bytes.Repeat([]byte{'i'}, 1+i*7919%size), '\n')
				q.pushMarked(record, true, func() {})
				model = append(model, record)
				total += len(record)
			case 5:
				dropped := q.dropIdle()
				if has := slices.ContainsFunc(model, isIdle); has != (dropped > 0) {
					t.Fatalf("step %d: dropped %d, idle ones: %v", i, dropped, has)
				}
				for range dropped { // the oldest
					at := slices.IndexFunc(model, isIdle)
					total -= len(model[at])
					model = slices.Delete(model, at, at+1)
				}
			}
			if q.records != len(model) || q.bytes != total {
				t.Fatalf("step %d: %d records and %d bytes, want %d and %d", i, q.records, q.bytes, len(model), total)
			}
		}
	})
}

func isIdle(record []byte) bool { return record[0] == 'i' }

func checkTaken(t *testing.T, model [][]byte, got []byte, n, limit int) {
	t.Helper()
	if n == 0 && len(model) > 0 {
		t.Fatal("took nothing of a queue that holds something")
	}
	if want := slices.Concat(model[:n]...); !bytes.Equal(got, want) {
		t.Fatalf("took %d bytes for %d records, want %d", len(got), n, len(want))
	}
	if n > 1 && len(got) > limit {
		t.Fatalf("took %d bytes, the limit is %d", len(got), limit)
	}
}

func TestFifoFreesWhatIsTaken(t *testing.T) {
	var q fifo
	record := bytes.Repeat([]byte("x"), 1000)
	for range 10 {
		for range 1000 {
			q.push(record)
		}
		for q.records > 0 {
			_, _ = q.take(nil, fileBatch)
		}
		if len(q.chunks) != 0 || q.bytes != 0 {
			t.Fatalf("an empty queue holds %d chunks and %d bytes", len(q.chunks), q.bytes)
		}
	}
	q.push(bytes.Repeat([]byte("x"), 2*chunkSize))
	_, _ = q.take(nil, 0)
	if q.spare == nil || cap(q.spare.buf) != chunkSize {
		t.Error("the spare chunk has an unusual size")
	}
}

func BenchmarkFifo(b *testing.B) {
	var q fifo
	line := fmt.Appendf(nil, "%0599d\n", 0)
	buf := make([]byte, 0, chunkSize)
	b.ReportAllocs()
	for b.Loop() {
		q.push(line)
		if q.bytes >= fileBatch {
			_, _ = q.take(buf, fileBatch)
		}
	}
}
