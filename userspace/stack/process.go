package stack

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"
)

// Process names whose addresses are to be resolved.
type Process struct {
	PID uint32
	// Start is when it started, since boot, as the kernel counts or cut to
	// hundredths; 0 if not known. It tells a reused pid.
	Start time.Duration
	// Stack is where its first stack begins (mm_struct.start_stack), 0 if not
	// known. The kernel places it anew at each execve, so it tells whether
	// the program is still the one that the addresses are of.
	Stack uint64
}

// Why there are no frames.
var (
	ErrGone   = errors.New("process has exited")
	ErrReused = errors.New("process is another one by now")
	ErrExec   = errors.New("process runs another program by now")
	ErrBusy   = errors.New("files of other processes do not answer")
)

// userHZ is the unit of times in /proc/PID/stat (include/asm-generic/param.h).
const userHZ = 100

// Places in /proc/PID/stat (proc_pid_stat(5)).
const (
	placeStart = 22
	placeStack = 28
)

// Check compares the process with what is there now, in the folder of its pid in
// the proc file system. The error is ErrGone, ErrReused or ErrExec.
func (p Process) Check(proc string) error {
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return ErrGone
	}
	start, ok := statField(stat, placeStart)
	if !ok {
		return ErrGone
	}
	const unit = time.Second / userHZ
	if p.Start != 0 && time.Duration(start)*unit != p.Start.Truncate(unit) {
		return ErrReused
	}
	// 0 where it must not be read, and 1 in the past.
	if at, ok := statField(stat, placeStack); ok && at > 1 && p.Stack != 0 && at != p.Stack {
		return ErrExec
	}
	return nil
}

// statField finds a number by its place, 4 or higher. The name in the second
// field may hold anything; the last ')' ends it.
func statField(stat []byte, place int) (uint64, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[i+1:])
	if place -= 3; len(fields) <= place {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[place]), 10, 64)
	return n, err == nil
}
