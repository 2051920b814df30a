package privilege

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// newNamespaces are the flags of clone(2) that make namespaces, but for CLONE_NEWTIME,
// which only clone3 has.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// policy lists what is denied. It is no list of what is allowed: what Go's runtime and
// the libraries call changes with each version and each machine, and a call that is
// missing in such a list would break a daemon that did nothing wrong. Denied is what leads
// from a hijacked agent to the rest of the host.
func policy(readOnly bool) []rule {
	rules := slices.Concat(denied(uint32(unix.EPERM), never), denied(uint32(unix.EPERM), neverLegacy), arguments())
	if readOnly {
		rules = slices.Concat(rules, denied(uint32(unix.EPERM), changesFiles), denied(uint32(unix.EPERM), changesFilesLegacy),
			denied(uint32(unix.ENOSYS), []uint32{unix.SYS_OPENAT2}), opens())
	}
	return rules
}

func denied(errno uint32, calls []uint32) []rule {
	var rules []rule
	for _, nr := range calls {
		rules = append(rules, rule{nr: nr, errno: errno})
	}
	return rules
}

// never are calls that the daemon does not make, whatever is configured.
var never = []uint32{
	// Other programs and other processes. /proc is read; nobody is stopped or changed.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_KCMP, unix.SYS_PROCESS_MADVISE, unix.SYS_TKILL,
	unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
	// Around the checks of paths and of this filter: io_uring opens files without a
	// system call of its own.
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_FANOTIFY_INIT, unix.SYS_USERFAULTFD,
	// Mounts, roots and namespaces; setns is in arguments.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_UNSHARE,
	// The machine.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_ADJTIMEX, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
	unix.SYS_VHANGUP, unix.SYS_PERSONALITY, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
}

// arguments are rules about calls that are made, but not in every way.
func arguments() []rule {
	const eperm = uint32(unix.EPERM)
	pid := uint32(os.Getpid())
	return []rule{
		// Go's runtime signals its own threads.
		{nr: unix.SYS_KILL, errno: eperm, when: notEqual, arg: 0, value: pid},
		{nr: unix.SYS_TGKILL, errno: eperm, when: notEqual, arg: 0, value: pid},
		// Network namespaces are entered to ask for a socket's cookie.
		{nr: unix.SYS_SETNS, errno: eperm, when: notEqual, arg: 1, value: unix.CLONE_NEWNET},
		{nr: unix.SYS_CLONE, errno: eperm, when: anyBit, arg: 0, value: newNamespaces},
		// A cgroup's path is found by its id.
		{nr: unix.SYS_OPEN_BY_HANDLE_AT, errno: eperm, when: anyBit, arg: 2, value: writes},
		// Its flags are in memory, where no filter sees them; callers go back to clone.
		{nr: unix.SYS_CLONE3, errno: uint32(unix.ENOSYS)},
		// No code is made at run time.
		{nr: unix.SYS_MMAP, errno: eperm, when: anyBit, arg: 2, value: unix.PROT_EXEC},
		{nr: unix.SYS_MPROTECT, errno: eperm, when: anyBit, arg: 2, value: unix.PROT_EXEC},
		{nr: unix.SYS_PKEY_MPROTECT, errno: eperm, when: anyBit, arg: 2, value: unix.PROT_EXEC},
	}
}

// writes are the flags of open(2) that let a file be changed.
const writes = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

func opens() []rule {
	return append([]rule{{nr: unix.SYS_OPENAT, errno: uint32(unix.EPERM), when: anyBit, arg: 2, value: writes}}, opensLegacy...)
}

// changesFiles are the calls that change files by their path, or what is not their content.
var changesFiles = []uint32{
	unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_TRUNCATE, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
	sysFchmodat2, sysSetxattrat, sysRemovexattrat,
}

// Calls that are newer than some of the kernels; their numbers are the same everywhere
// (include/uapi/asm-generic/unistd.h).
const (
	sysFchmodat2     = 452
	sysSetxattrat    = 463
	sysRemovexattrat = 466
)
