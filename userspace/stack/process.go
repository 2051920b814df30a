package stack

import (
	"errors"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/procstat"
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

// Check compares the process with what is there now, in the folder of its pid in
// the proc file system. The error is ErrGone, ErrReused or ErrExec.
func (p Process) Check(proc string) error {
	is, ok := procstat.Read(proc)
	switch {
	case !ok:
		return ErrGone
	case p.Start != 0 && !is.Began(p.Start):
		return ErrReused
	case p.Stack != 0 && is.Stack != 0 && is.Stack != p.Stack:
		return ErrExec
	}
	return nil
}
