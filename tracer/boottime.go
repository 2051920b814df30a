package tracer

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BootTime returns the time since boot, suspension included: the clock of all
// events (bpf_ktime_get_boot_ns).
func BootTime() time.Duration {
	var ts unix.Timespec
	// CLOCK_BOOTTIME exists since 2.6.39; it cannot fail. Raw, because it does not
	// block: of other system calls the Go runtime's monitor thread is told, which an
	// idle agent would wake with each.
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}
