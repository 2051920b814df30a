package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// agePasses bounds the work of one Age call on one ring; a ring that is
	// not done by then goes on at the next call, and loses nothing if it comes
	// round.
	agePasses = 512
	// ageLeast is the shortest time between two calls that Age asks for.
	ageLeast = 20 * time.Millisecond

	// What limbo_age returns (bpf/limbo.bpf.c).
	ageMore     = 1
	agePromoted = 2

	ringStride = int(unsafe.Sizeof(limboYoungCpu{}))
)

// Age looks at the slots of the young generation that are at least this old, and
// promotes the sockets still stuck. CPUs whose rings have not moved are not
// disturbed. flush is called after each run that promoted some, so that the ring
// buffer does not fill however many they are.
func (t *Tracer) Age(young time.Duration, flush func() error) error {
	if _, err := t.youngCPUs.ReadAt(t.youngBuf, 0); err != nil {
		return fmt.Errorf("reading young_cpus: %w", err)
	}
	now := BootTime()
	t.measureRings(now)
	if err := t.giveStacks(now); err != nil {
		return err
	}
	for ring := range 2 * t.cpus {
		head, tail := t.ringAt(ring)
		if head == tail {
			continue
		}
		if err := t.ageRing(ring, t.inJiffies(young), flush); err != nil {
			return err
		}
	}
	return nil
}

// inJiffies rounds up.
func (t *Tracer) inJiffies(d time.Duration) uint64 {
	jiffy := time.Second / time.Duration(t.decode.hz)
	return uint64((d + jiffy - 1) / jiffy)
}

func (t *Tracer) ringAt(ring int) (head, tail uint64) {
	b := t.youngBuf[ring*ringStride:]
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// measureRings finds out how long the fullest ring takes to fill three eighths, at
// the present rate. Called at that pace with slots of that age, Age finds rings
// three quarters full at most, and the tracepoint has nothing to look at early.
func (t *Tracer) measureRings(now time.Duration) {
	elapsed := now - t.agedAt
	t.agedAt = now
	t.ringPace = time.Hour
	for cpu := range t.cpus {
		head, _ := t.ringAt(cpu)
		// Forgotten slots take head back.
		if n := int64(head - t.heads[cpu]); n > 0 {
			t.ringPace = min(t.ringPace, elapsed*time.Duration(t.opts.YoungSlots*3/8)/time.Duration(n))
		}
		t.heads[cpu] = head
	}
	t.ringPace = max(t.ringPace, ageLeast)
}

// AgePace returns how soon Age should be called again, and how old slots should
// be then, at the rate of before the last call.
func (t *Tracer) AgePace() time.Duration { return t.ringPace }

func (t *Tracer) ageRing(ring int, jiffies uint64, flush func() error) error {
	cpu := ring % t.cpus
	for range agePasses {
		result, err := t.ageOn(cpu, uint64(ring), jiffies)
		if err != nil {
			return fmt.Errorf("ageing sockets of CPU %d: %w", cpu, err)
		}
		if result&agePromoted != 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if result&ageMore == 0 {
			return nil
		}
	}
	return nil
}

// ageOn runs limbo_age for a ring. Where a CPU's stores are seen by the others in
// their order, it runs here: interrupting the ring's CPU costs both more than the
// pass itself. Elsewhere a slot that is just being overwritten could be mistaken
// for a whole one.
func (t *Tracer) ageOn(cpu int, ring, jiffies uint64) (uint32, error) {
	if runtime.GOARCH != "amd64" {
		result, err := t.runOn(cpu, t.objs.LimboAge, ring, jiffies)
		if !errors.Is(err, unix.ENXIO) {
			return result, err
		}
		// Offline: nothing runs there, so its ring can be read from here.
	}
	return t.run(t.objs.LimboAge, ring, jiffies)
}

// initRings tells each ring where its slots are: first those of YoungSlots for
// every CPU, then the small ones.
func (t *Tracer) initRings() error {
	for ring := range 2 * t.cpus {
		base, slots := t.opts.YoungSlots*uint32(ring), t.opts.YoungSlots
		if i := ring - t.cpus; i >= 0 {
			base, slots = t.opts.YoungSlots*uint32(t.cpus)+uint32(i)*nestedSlots, nestedSlots
		}
		binary.LittleEndian.PutUint32(t.youngBuf[ring*ringStride+ringBase:], base)
		binary.LittleEndian.PutUint32(t.youngBuf[ring*ringStride+ringSlots:], slots)
	}
	if _, err := t.youngCPUs.WriteAt(t.youngBuf, 0); err != nil {
		return fmt.Errorf("writing young_cpus: %w", err)
	}
	return nil
}

const (
	// nestedSlots is the size of a CPU's second ring, which gets one append in
	// a thousand.
	nestedSlots = 64

	ringBase  = int(unsafe.Offsetof(limboYoungCpu{}.Base))
	ringSlots = int(unsafe.Offsetof(limboYoungCpu{}.Slots))
)
