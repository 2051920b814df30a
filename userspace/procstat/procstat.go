// Package procstat reads /proc/PID/stat: who a process is, and whether it is still
// the one that was meant.
package procstat

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"time"
)

// tick is the unit of its times: one of USER_HZ, 100 on every architecture the kernel
// exports to user space (include/asm-generic/param.h).
const tick = time.Second / 100

// kernelThread is PF_KTHREAD (include/linux/sched.h).
const kernelThread = 0x00200000

// Places of fields, as proc_pid_stat(5) counts them.
const (
	placeName  = 2
	placeFlags = 9
	placeStart = 22
	placeStack = 28
)

// Process is what the file tells.
type Process struct {
	// Name is that of its first thread, from outside: it may hold anything.
	Name string
	// Kernel marks a kernel thread. A missing link to a program would not tell: a
	// zombie has none either.
	Kernel bool
	// Start is when it started, since boot, cut to ticks.
	Start time.Duration
	// Stack is where its first stack begins (mm_struct.start_stack), 0 if not known:
	// it is shown to those that may trace the process.
	Stack uint64
}

// Read reads the file in the folder of a pid in the proc file system. It is false if
// the process is gone.
func Read(dir string) (Process, bool) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Process{}, false
	}
	return Parse(stat)
}

// Parse reads the file's text, false if name, flags or start are not in it. The name
// may hold spaces and parentheses; the last ')' ends it.
func Parse(stat []byte) (p Process, ok bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || begin >= end {
		return Process{}, false
	}
	place := placeName
	for field := range bytes.FieldsSeq(stat[end+1:]) {
		place++
		switch place {
		case placeFlags:
			flags, err := number(field)
			if err != nil {
				return Process{}, false
			}
			p.Kernel = flags&kernelThread != 0
		case placeStart:
			ticks, err := number(field)
			if err != nil || ticks > math.MaxInt64/uint64(tick) {
				return Process{}, false
			}
			p.Start, ok = time.Duration(ticks)*tick, true
		case placeStack:
			// 1 stands for what must not be read.
			if at, err := number(field); err == nil && at > 1 {
				p.Stack = at
			}
		}
		if place == placeStack {
			break
		}
	}
	if !ok {
		return Process{}, false
	}
	p.Name = string(stat[begin+1 : end])
	return p, true
}

func number(field []byte) (uint64, error) { return strconv.ParseUint(string(field), 10, 64) }

// Began reports whether the process is the one that started then, since boot, as the
// kernel counts it, in nanoseconds: the file's ticks are cut off, not rounded.
func (p *Process) Began(start time.Duration) bool { return p.Start == start.Truncate(tick) }
