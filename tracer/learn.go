package tracer

import (
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// kernelHZ are the tick rates a kernel can be configured with on amd64 and
// arm64 (kernel/Kconfig.hz).
var kernelHZ = []uint32{100, 250, 300, 1000}

// learn finds the kernel's table of connections and its tick rate by way of a
// socket of our own: no symbol table, no kernel configuration file needed.
func (t *Tracer) learn() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("opening a TCP socket: %w", err)
	}
	defer unix.Close(fd)
	ret, err := t.run(t.objs.LimboLearn, uint64(fd))
	if err != nil {
		return fmt.Errorf("running limbo_learn: %w", err)
	}
	var walk limboWalkState
	if err := t.objs.Walk.Get(&walk); err != nil {
		return fmt.Errorf("reading walk: %w", err)
	}
	if ret != 0 || walk.Hashinfo == 0 || walk.Buckets&(walk.Buckets-1) != 0 {
		return fmt.Errorf("reading the kernel's connection table: "+
			"nothing sensible at %#x (%d buckets): are probe reads locked down (lockdown=confidentiality)?",
			walk.Hashinfo, walk.Buckets)
	}
	t.hashinfo, t.buckets = walk.Hashinfo, walk.Buckets
	hz := walk.Hz
	if !slices.Contains(kernelHZ, hz) {
		if hz, err = t.measureHZ(); err != nil {
			return err
		}
		walk.Hz = hz
		if err := t.objs.Walk.Set(walk); err != nil {
			return fmt.Errorf("setting walk: %w", err)
		}
	}
	t.decode = newDecoder(hz)
	return nil
}

// measureHZ counts jiffies against the clock, for kernels whose initial
// retransmission time-out is not one second.
func (t *Tracer) measureHZ() (uint32, error) {
	const span = 200 * time.Millisecond
	begin, err := t.jiffies()
	if err != nil {
		return 0, err
	}
	start := BootTime()
	<-time.After(span)
	end, err := t.jiffies()
	if err != nil {
		return 0, err
	}
	rate := float64(end-begin) / (BootTime() - start).Seconds()
	best := kernelHZ[0]
	for _, hz := range kernelHZ {
		if abs(float64(hz)-rate) < abs(float64(best)-rate) {
			best = hz
		}
	}
	return best, nil
}

func abs(f float64) float64 { return max(f, -f) }

func (t *Tracer) jiffies() (uint64, error) {
	// A descriptor number that cannot be open: only the clock is wanted.
	if _, err := t.run(t.objs.LimboLearn, uint64(1<<20)); err != nil {
		return 0, fmt.Errorf("running limbo_learn: %w", err)
	}
	var walk limboWalkState
	if err := t.objs.Walk.Get(&walk); err != nil {
		return 0, fmt.Errorf("reading walk: %w", err)
	}
	return walk.Jiffies, nil
}

// run executes an unattached program once, on this CPU, with args as its
// context, and returns what it returned.
func (t *Tracer) run(prog *ebpf.Program, args ...uint64) (uint32, error) {
	return prog.Run(&ebpf.RunOptions{Context: args})
}

// runOn is run on a given CPU; ENXIO if that is offline.
func (t *Tracer) runOn(cpu int, prog *ebpf.Program, args ...uint64) (uint32, error) {
	return prog.Run(&ebpf.RunOptions{Context: args, CPU: uint32(cpu), Flags: unix.BPF_F_TEST_RUN_ON_CPU})
}
