package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// agePasses bounds the work of one Age call on one CPU; a ring that is not
// done by then goes on at the next tick, and loses nothing if it comes round.
const agePasses = 512

// Age looks at the slots of the young generation that were written before the
// given boot time, and promotes the sockets still stuck. CPUs whose ring has
// not moved are not disturbed. flush is called between runs so that the ring
// buffer does not fill however many are promoted.
func (t *Tracer) Age(before time.Duration, flush func() error) error {
	if _, err := t.youngCPUs.ReadAt(t.youngBuf, 0); err != nil {
		return fmt.Errorf("reading young_cpus: %w", err)
	}
	stride := int(unsafe.Sizeof(limboYoungCpu{}))
	for cpu := range t.cpus {
		b := t.youngBuf[cpu*stride:]
		head, tail := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		if head == tail {
			continue
		}
		if err := t.ageCPU(cpu, before, flush); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracer) ageCPU(cpu int, before time.Duration, flush func() error) error {
	for range agePasses {
		more, err := t.runOn(cpu, t.objs.LimboAge, uint64(cpu), uint64(before))
		if errors.Is(err, unix.ENXIO) {
			// Offline: nothing runs there, so its ring can be read from here.
			more, err = t.run(t.objs.LimboAge, uint64(cpu), uint64(before))
		}
		if err != nil {
			return fmt.Errorf("ageing sockets of CPU %d: %w", cpu, err)
		}
		if err := flush(); err != nil {
			return err
		}
		if more == 0 {
			return nil
		}
	}
	return nil
}
