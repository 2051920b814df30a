package tracer

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// defaultStacksRate is how many stacks a second a CPU may take: at ordinary rates that
// is every connection.
const defaultStacksRate = 2000

const (
	stackCredit   = int(unsafe.Offsetof(limboYoungCpu{}.StackCredit))
	stacksRefused = int(unsafe.Offsetof(limboYoungCpu{}.StacksRefused))
)

// stackShare is what a CPU may take of the budget for stacks.
type stackShare struct {
	at time.Duration // when it was given last, boot clock; 0: never
	// given was what it could take then, refused its counter, and owed what there was
	// beyond whole stacks, in stacks times nanoseconds.
	given   uint32
	refused uint64
	owed    uint64
	// asked counts since second; shift halves the rate so often until the next one.
	second time.Duration
	asked  uint64
	shift  uint
}

// refill returns how many stacks may be taken from now on, where credit is what is left
// and refused the CPU's counter. At most a quarter of a second's may be taken at once, or
// what a longer tick brings, up to a second's.
func (s *stackShare) refill(now time.Duration, credit uint32, refused, rate uint64) uint32 {
	credit = min(credit, s.given)
	if s.at == 0 {
		s.at, s.second = now, now
		s.given = uint32(rate / 4)
		return s.given
	}
	passed := min(max(now-s.at, 0), time.Second)
	s.count(now, uint64(s.given-credit)+refused-s.refused, rate)
	s.owed += uint64(passed) * rate >> s.shift
	most := uint64(max(passed, time.Second/4)) * rate / uint64(time.Second)
	s.given = uint32(min(uint64(credit)+s.owed/uint64(time.Second), most))
	s.owed %= uint64(time.Second)
	s.at, s.refused = now, refused
	return s.given
}

// shiftMost leaves a sixteenth of the rate.
const shiftMost = 4

// count decides, once a second, what is left of the rate. Beyond the budget a stack is a
// sample, and where far more is asked for, fewer samples say as much: half of the rate is
// left where one and a half times as much is asked for, a quarter where it is three times
// as much, and so on. A burst shorter than a second has the whole.
func (s *stackShare) count(now time.Duration, asked, rate uint64) {
	s.asked += asked
	passed := now - s.second
	if passed < time.Second {
		return
	}
	budget := uint64(min(passed, time.Hour)) / uint64(time.Millisecond) * rate / 1000
	s.shift = 0
	for s.shift < shiftMost && s.asked > 3*budget<<s.shift/2 {
		s.shift++
	}
	s.second, s.asked = now, 0
}

// giveStacks lets each CPU take stacks until the next tick. What a program takes while
// this is written may come on top.
func (t *Tracer) giveStacks(now time.Duration) error {
	if t.opts.Stacks != flow.StacksOn {
		return nil
	}
	rate := uint64(defaultStacksRate)
	if t.opts.stacksRate != 0 {
		rate = uint64(t.opts.stacksRate)
	}
	for cpu := range t.cpus {
		credit, refused := t.stacksAt(cpu)
		given := t.stacks.shares[cpu].refill(now, credit, refused, rate)
		if given == credit {
			continue // the line is the other CPU's, as long as it takes none
		}
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], given)
		if _, err := t.youngCPUs.WriteAt(b[:], int64(cpu*ringStride+stackCredit)); err != nil {
			return fmt.Errorf("writing young_cpus: %w", err)
		}
	}
	t.paceAccept(now)
	return nil
}

// stacksAt returns what a CPU may take, and what it was refused, when young_cpus was read
// last.
func (t *Tracer) stacksAt(cpu int) (credit uint32, refused uint64) {
	b := t.youngBuf[cpu*ringStride:]
	return binary.LittleEndian.Uint32(b[stackCredit:]), binary.LittleEndian.Uint64(b[stacksRefused:])
}
