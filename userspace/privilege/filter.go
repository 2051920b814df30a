package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rule is what happens at a system call; a call without a rule is allowed.
type rule struct {
	nr    uint32
	errno uint32
	// when says which calls are denied: all, those whose argument arg has a bit of
	// value, or those whose argument is not value. Arguments are compared by their
	// lower 32 bits, as the kernel takes an int.
	when  condition
	arg   uint32
	value uint32
}

type condition uint8

const (
	always condition = iota
	anyBit
	notEqual
)

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h); the lower half of an
// argument comes first on the little-endian machines that the BPF object is for.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

// x32Bit marks the calls of x86's third ABI, which share the architecture of the first
// (arch/x86/include/uapi/asm/unistd.h).
const x32Bit = 0x40000000

// assemble makes the filter. Rules of which nr alone decides cost nothing at the calls
// without one, since Linux 5.11 (kernel/seccomp.c, seccomp_cache_prepare).
func assemble(rules []rule) []unix.SockFilter {
	deny := func(errno uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	f := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		deny(uint32(unix.ENOSYS)),
		load(offsetNr),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		deny(uint32(unix.ENOSYS)),
	}
	for _, r := range rules {
		switch r.when {
		case always:
			f = append(f, jump(unix.BPF_JEQ, r.nr, 0, 1), deny(r.errno))
		case anyBit:
			f = append(f, jump(unix.BPF_JEQ, r.nr, 0, 4), load(offsetArgs+8*r.arg),
				jump(unix.BPF_JSET, r.value, 0, 1), deny(r.errno), allow)
		case notEqual:
			f = append(f, jump(unix.BPF_JEQ, r.nr, 0, 4), load(offsetArgs+8*r.arg),
				jump(unix.BPF_JEQ, r.value, 1, 0), deny(r.errno), allow)
		}
	}
	return append(f, allow)
}

// installFilter puts the filter on all threads; those that come later inherit it.
// no_new_privs must be set.
func installFilter(rules []rule) error {
	if auditArch == 0 {
		return errors.New("filtering system calls: no filter for " + runtime.GOARCH)
	}
	f := assemble(rules)
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return fmt.Errorf("filtering system calls: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("filtering system calls: thread %d has a filter of its own", thread)
	}
	return nil
}
