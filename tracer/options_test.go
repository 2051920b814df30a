package tracer

import (
	"math/bits"
	"net/netip"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	for _, cpus := range []int{1, 2, 3, 8, 64, 96, 128, 512, 8192} {
		var o Options
		o.setDefaults(cpus)
		if bits.OnesCount32(o.YoungSlots) != 1 {
			t.Errorf("%d CPUs: %d slots, not a power of two", cpus, o.YoungSlots)
		}
		if o.YoungSlots < youngLeast || o.YoungSlots > youngMost {
			t.Errorf("%d CPUs: %d slots, want %d to %d", cpus, o.YoungSlots, youngLeast, youngMost)
		}
		size := int(o.YoungSlots) * youngSlotSize * cpus
		if size > youngBudget && o.YoungSlots > youngLeast {
			t.Errorf("%d CPUs: %d bytes, more than %d", cpus, size, youngBudget)
		}
		if o.RingBytes != DefaultRingBytes || o.MaxPromoted != DefaultMaxPromoted {
			t.Errorf("%d CPUs: ring buffer of %d, old generation of %d", cpus, o.RingBytes, o.MaxPromoted)
		}
	}
}

func TestDefaultsKeepWhatIsSet(t *testing.T) {
	set := Options{Watch: stuckStates, RingBytes: 4096, MaxPromoted: 64, YoungSlots: 2}
	got := set
	got.setDefaults(4)
	if got != set {
		t.Errorf("set %+v, became %+v", set, got)
	}
	trace := Options{Watch: stuckStates, Trace: &Trace{}}
	trace.setDefaults(4)
	if trace.Watch != 0 || trace.RingBytes != TraceRingBytes {
		t.Errorf("trace watches %b with a ring buffer of %d", trace.Watch, trace.RingBytes)
	}
}

func TestNetAndMask(t *testing.T) {
	tests := []struct {
		net  string
		addr string
		ones int
	}{
		{"10.0.0.0/8", "::ffff:10.0.0.0", 104},
		{"192.0.2.77/24", "::ffff:192.0.2.0", 120},
		{"0.0.0.0/0", "::ffff:0.0.0.0", 96},
		{"192.0.2.1/32", "::ffff:192.0.2.1", 128},
		{"2001:db8:1:2::/33", "2001:db8::", 33},
		{"::/0", "::", 0},
	}
	for _, tt := range tests {
		addr, mask := netAndMask(&Trace{Net: netip.MustParsePrefix(tt.net)})
		if got := netip.AddrFrom16(addr); got != netip.MustParseAddr(tt.addr) {
			t.Errorf("%s: address %v, want %s", tt.net, got, tt.addr)
		}
		ones := 0
		for _, b := range mask {
			ones += bits.OnesCount8(b)
		}
		if ones != tt.ones || mask != maskOf(tt.ones) {
			t.Errorf("%s: mask %x, want %d leading ones", tt.net, mask, tt.ones)
		}
	}
}

func maskOf(ones int) (mask [16]uint8) {
	for i := range ones {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return mask
}

// The faster a ring fills, the sooner the next look.
func TestAgePace(t *testing.T) {
	const slots = 1024
	tests := []struct {
		name    string
		appends [2]uint64
		elapsed time.Duration
		want    time.Duration
	}{
		{"idle", [2]uint64{0, 0}, 100 * time.Millisecond, time.Hour},
		{"three eighths in the time", [2]uint64{slots * 3 / 8, 0}, 100 * time.Millisecond, 100 * time.Millisecond},
		{"the fuller ring counts", [2]uint64{slots / 8, slots * 3 / 4}, 100 * time.Millisecond, 50 * time.Millisecond},
		{"never without a pause", [2]uint64{1 << 40, 0}, 100 * time.Millisecond, ageLeast},
		{"more forgotten than remembered", [2]uint64{^uint64(0), 0}, 100 * time.Millisecond, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := &Tracer{cpus: 2, opts: Options{YoungSlots: slots}, heads: []uint64{5, 5}, agedAt: time.Second}
			tr.youngBuf = make([]byte, 4*ringStride)
			for cpu, n := range tt.appends {
				copy(tr.youngBuf[cpu*ringStride:], encode(t, limboYoungCpu{Head: 5 + n}))
			}
			tr.measureRings(time.Second + tt.elapsed)
			if got := tr.AgePace(); got != tt.want {
				t.Errorf("pace %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLoadRefusesBadSizes(t *testing.T) {
	requireBPF(t)
	if tr, err := Load(Options{Watch: stuckStates, RingBytes: 5000}); err == nil {
		tr.Close()
		t.Error("a ring buffer of 5000 bytes was accepted")
	}
}
