package tracer

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootTime returns the time since boot, suspension included: the clock of all
// events (bpf_ktime_get_boot_ns).
func BootTime() time.Duration {
	var ts unix.Timespec
	// CLOCK_BOOTTIME exists since 2.6.39; it cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
