package writequeue

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

func socket(una, written uint32) flow.Sock {
	s := flow.Sock{ID: flow.ID{Local: client.Local, Peer: client.Peer, NetNS: client.NetNS}, State: flow.StateEstablished}
	s.SndUna, s.WriteSeq = una, written
	return s
}

func TestFollow(t *testing.T) {
	const start = time.Hour
	begin := func() *Followed {
		f := &Followed{Pair: client, Sock: socket(0xffffff00, 0x10)}
		if !f.Begin(start) {
			t.Fatal("nothing to follow")
		}
		return f
	}
	read := func(f *Followed, after time.Duration, s flow.Sock) (int, bool) {
		f.Sock = s
		return f.Take(start + after)
	}
	still, all := socket(0xfffffff0, 0x100), socket(0x10, 0x200)
	for _, c := range []struct {
		name string
		at   []time.Duration // readings; the last one shows it acknowledged
		want int             // bucket, -1: not known
	}{
		{"at once", []time.Duration{Bounds[0]}, 0},
		{"a little late", []time.Duration{Bounds[0] + time.Millisecond}, 0},
		{"the daemon was busy", []time.Duration{30 * time.Millisecond}, -1},
		{"between two readings", []time.Duration{Bounds[0], Bounds[1], Bounds[2]}, 2},
		{"busy in between", []time.Duration{Bounds[0], 60 * time.Millisecond, Bounds[5]}, 5},
	} {
		f := begin()
		bucket, known := -1, false
		for i, at := range c.at {
			s := still
			if i == len(c.at)-1 {
				s = all
			}
			if bucket, known = read(f, at, s); known && i < len(c.at)-1 {
				t.Errorf("%s: known after %v", c.name, at)
			}
		}
		if !known {
			bucket = -1
		}
		if bucket != c.want {
			t.Errorf("%s: bucket %d, want %d", c.name, bucket, c.want)
		}
		if _, ok := f.Due(); ok {
			t.Errorf("%s: still followed", c.name)
		}
	}

	f := begin()
	for i, b := range Bounds {
		if at, ok := f.Due(); !ok || at != start+b {
			t.Fatalf("due at %v, want %v", at, start+b)
		}
		if bucket, known := read(f, b, still); known != (i == len(Bounds)-1) || known && bucket != len(Bounds) {
			t.Errorf("after %v: %d, %v", b, bucket, known)
		}
	}
	if _, ok := f.Due(); ok {
		t.Error("followed for ever")
	}

	// All of it was sent 60 ms ago.
	sent := socket(0, 0x10)
	sent.SndNxt, sent.LastSend = 0x10, 60*time.Millisecond
	f = &Followed{Pair: client, Sock: sent}
	if !f.Begin(start) {
		t.Fatal("nothing to follow")
	}
	if at, _ := f.Due(); at != start+Bounds[5]-60*time.Millisecond {
		t.Errorf("due at %v", at)
	}
	if bucket, known := read(f, 15*time.Millisecond, socket(0x10, 0x20)); !known || bucket != 5 {
		t.Errorf("bucket %d, %v, want that of 75 ms", bucket, known)
	}

	f = begin()
	if _, known := read(f, Bounds[0], flow.Sock{Gone: true}); known {
		t.Error("a socket that is gone has acknowledged nothing")
	}
	other := socket(0, 1)
	other.Peer = client.Local
	if f = (&Followed{Pair: client, Sock: other}); f.Begin(start) {
		t.Error("another socket at this address was followed")
	}
	if f = (&Followed{Pair: client, Sock: socket(1, 1)}); f.Begin(start) {
		t.Error("followed though nothing waits")
	}
}

// A reading that waits for company still tells the bucket, even where the wake-up that it
// waited for comes late; a short bound leaves no time for that.
func TestLatest(t *testing.T) {
	const start, wakeUp = time.Hour, 4 * time.Millisecond
	f := &Followed{Pair: client, Sock: socket(0x10, 0x100)}
	if _, ok := f.Latest(); ok {
		t.Error("has to be read before it is followed")
	}
	if !f.Begin(start) {
		t.Fatal("nothing to follow")
	}
	for i, b := range Bounds {
		at, ok := f.Latest()
		if waits := at - (start + b); !ok || waits < 0 || (waits > 0) != (b >= 100*time.Millisecond) || (waits > 0 && waits+wakeUp > late(b)) {
			t.Errorf("the reading at %v may wait for %v", b, waits)
		}
		if i < len(Bounds)-1 {
			f.Sock = socket(0x10, 0x100)
			f.Take(start + b)
		}
	}
}
