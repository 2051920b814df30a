package tracer

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// progInfo is the part of struct bpf_prog_info (include/uapi/linux/bpf.h) that ends with
// recursion_misses.
type progInfo struct {
	_               [208]byte
	recursionMisses uint64
}

// infoAttr is the part of union bpf_attr for BPF_OBJ_GET_INFO_BY_FD.
type infoAttr struct {
	fd, size uint32
	info     uint64
}

// recursionMisses is (*ebpf.Program).Stats().RecursionMisses for a tenth of its cost: it
// is asked for at each tick, for as long as the agent runs. 0 where the kernel's struct
// is shorter. It does not block, so the call is raw: see BootTime.
func recursionMisses(fd int) (uint64, error) {
	info := new(progInfo)
	// Its address is a number in attr, where nobody else sees that it is one.
	var pins runtime.Pinner
	pins.Pin(info)
	defer pins.Unpin()
	attr := infoAttr{fd: uint32(fd), size: uint32(unsafe.Sizeof(*info)), info: uint64(uintptr(unsafe.Pointer(info)))}
	_, _, errno := unix.RawSyscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, fmt.Errorf("asking about a program: %w", errno)
	}
	return info.recursionMisses, nil
}
