package tracer

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// samples gives bytes that make offsets visible: each byte another, all ones,
// nothing, and noise that is the same each time.
func samples(size int) [][]byte {
	count, noise := make([]byte, size), make([]byte, size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range size {
		count[i] = byte(i + 1)
		noise[i] = byte(random.Uint32())
	}
	return [][]byte{make([]byte, size), count, noise, []byte(strings.Repeat("\xff", size))}
}

// fuzzDecoder holds a decoder against reflection and the meaning that want
// gives to the generated type.
func fuzzDecoder[T any, R comparable](f *testing.F, size int, decode func(*decoder, []byte, *R) error, want func(T) R) {
	for _, b := range samples(size) {
		f.Add(b)
		f.Add(b[:size-1])
	}
	f.Add([]byte{})
	d := newDecoder(testHZ)
	f.Fuzz(func(t *testing.T, b []byte) {
		var got R
		err := decode(d, b, &got)
		if short := len(b) < size; short != (err != nil) {
			t.Fatalf("%d bytes, %d needed: error %v", len(b), size, err)
		}
		if err != nil {
			return
		}
		if want := want(reference[T](t, b)); got != want {
			t.Errorf("decoded\n%+v, want\n%+v", got, want)
		}
		if len(d.comms) > commsMax {
			t.Errorf("%d thread names kept, at most %d allowed", len(d.comms), commsMax)
		}
	})
}

func FuzzEvent(f *testing.F) {
	fuzzDecoder(f, eventSize, (*decoder).event, wantEvent)
}

func FuzzValues(f *testing.F) {
	fuzzDecoder(f, valuesSize, (*decoder).values, wantSock)
}

func FuzzHolder(f *testing.F) {
	fuzzDecoder(f, holderSize, (*decoder).holder, wantHeld)
}

func FuzzGlance(f *testing.F) {
	decode := func(d *decoder, b []byte, g *glanced) error {
		if len(b) < glanceSize {
			return errors.New("too short")
		}
		g.is = d.glance(b, &g.sock)
		return nil
	}
	for is := range byte(4) {
		b := slices.Repeat([]byte{7, 0, 255}, glanceSize)[:glanceSize]
		b[unsafe.Offsetof(limboGlance{}.Is)] = is
		f.Add(b)
	}
	fuzzDecoder(f, glanceSize, decode, wantGlance)
}

// The fuzz targets prove the offsets; these the meaning, without the help of
// the code under test.
func TestDecodeEvent(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	six := netip.MustParseAddr("2001:db8::1").As16()
	tests := []struct {
		name string
		set  func(*limboEvent)
		want flow.Event
	}{
		{
			"promotion without addresses",
			func(e *limboEvent) {
				e.Type = uint8(limboEventTypeEVENT_PROMOTED)
				e.Sk, e.Cookie, e.NewState, e.SinceNs = 7, 8, 5, 9
				e.Flags = uint8(limboSockFlagSOCK_TIMEWAIT | limboSockFlagSOCK_ORPHAN)
			},
			flow.Event{
				Kind: flow.EventPromoted, ID: flow.ID{Key: flow.Key{Addr: 7, Cookie: 8}},
				New: flow.StateFinWait2, Since: 9, TimeWait: true, Orphan: true,
			},
		},
		{
			"IPv4",
			func(e *limboEvent) {
				e.Type = uint8(limboEventTypeEVENT_TRANSITION)
				e.Saddr, e.Daddr, e.Sport, e.Dport = mapped, mapped, 1, 65535
			},
			flow.Event{Kind: flow.EventTransition, ID: flow.ID{
				Local: netip.MustParseAddrPort("192.0.2.1:1"), Peer: netip.MustParseAddrPort("192.0.2.1:65535"),
			}},
		},
		{
			"IPv6, a failed connect",
			func(e *limboEvent) {
				e.Type = uint8(limboEventTypeEVENT_TRANSITION)
				e.Saddr, e.Daddr, e.Dport, e.Err = six, six, 443, 111
			},
			flow.Event{Kind: flow.EventTransition, Err: 111, ID: flow.ID{
				Local: netip.MustParseAddrPort("[2001:db8::1]:0"), Peer: netip.MustParseAddrPort("[2001:db8::1]:443"),
			}},
		},
		{
			"a thread name without an end",
			func(e *limboEvent) {
				e.Type = uint8(limboEventTypeEVENT_PROMOTED)
				e.Task.Pid, e.Task.Tid, e.Task.Uid = 10, 11, 12
				copy(e.Task.Comm[:], "0123456789abcdef")
			},
			flow.Event{Kind: flow.EventPromoted, Task: flow.Task{PID: 10, TID: 11, UID: 12, Comm: "0123456789abcdef"}},
		},
		{
			"what follows a thread name is not part of it",
			func(e *limboEvent) {
				e.Type = uint8(limboEventTypeEVENT_PROMOTED)
				e.Task.Pid = 1
				copy(e.Task.Comm[:], "a\x00bc")
			},
			flow.Event{Kind: flow.EventPromoted, Task: flow.Task{PID: 1, Comm: "a"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var raw limboEvent
			tt.set(&raw)
			var got flow.Event
			if err := newDecoder(testHZ).event(encode(t, raw), &got); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got\n%+v, want\n%+v", got, tt.want)
			}
		})
	}
}

func TestDecodeTimes(t *testing.T) {
	tests := []struct {
		name    string
		hz      uint32
		flags   limboSockFlag
		expires int32
		waiting int32
		want    [2]time.Duration // Expires, Waiting
	}{
		{"no timer", 250, 0, 1000, -1, [2]time.Duration{-1, -time.Millisecond}},
		{"timer ahead", 250, limboSockFlagSOCK_TIMER, 500, 1500, [2]time.Duration{2 * time.Second, 1500 * time.Millisecond}},
		{"timer due", 1000, limboSockFlagSOCK_TIMER, -3, 0, [2]time.Duration{0, 0}},
		{"the furthest", 100, limboSockFlagSOCK_TIMER, 1<<31 - 1, 1<<31 - 1, [2]time.Duration{(1<<31 - 1) * 10 * time.Millisecond, (1<<31 - 1) * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := limboSockValues{Flags: uint8(tt.flags), ExpiresJiffies: tt.expires, WaitingMs: tt.waiting}
			var got flow.Sock
			if err := newDecoder(tt.hz).values(encode(t, raw), &got); err != nil {
				t.Fatal(err)
			}
			if have := [2]time.Duration{got.Expires, got.Waiting}; have != tt.want {
				t.Errorf("expires and waiting %v, want %v", have, tt.want)
			}
		})
	}
}

// A host that names its threads at random must not fill the agent's memory.
func TestThreadNamesAreBounded(t *testing.T) {
	d := newDecoder(testHZ)
	var raw limboEvent
	raw.Task.Pid = 1
	var e flow.Event
	for i := range 3 * commsMax {
		binary.LittleEndian.PutUint32(raw.Task.Comm[:], uint32(i)|0x01010101<<4)
		if err := d.event(encode(t, raw), &e); err != nil {
			t.Fatal(err)
		}
		if len(d.comms) > commsMax {
			t.Fatalf("%d thread names kept after %d, at most %d allowed", len(d.comms), i+1, commsMax)
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	d := newDecoder(testHZ)
	var e flow.Event
	var s flow.Sock
	var h flow.Held
	event, values, holder := samples(eventSize)[1], samples(valuesSize)[1], samples(holderSize)[1]
	allocs := testing.AllocsPerRun(100, func() {
		if d.event(event, &e) != nil || d.values(values, &s) != nil || d.holder(holder, &h) != nil {
			t.Fatal("a whole record was refused")
		}
	})
	if allocs != 0 {
		t.Errorf("decoding three records allocates %v times, want 0", allocs)
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	d := newDecoder(testHZ)
	raw := samples(eventSize)[1]
	var e flow.Event
	b.ReportAllocs()
	for b.Loop() {
		if err := d.event(raw, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeValues(b *testing.B) {
	d := newDecoder(testHZ)
	raw := samples(valuesSize)[1]
	var s flow.Sock
	b.ReportAllocs()
	for b.Loop() {
		if err := d.values(raw, &s); err != nil {
			b.Fatal(err)
		}
	}
}
