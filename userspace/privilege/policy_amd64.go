package privilege

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// Calls that only older architectures have.
var (
	neverLegacy = []uint32{
		unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_FORK, unix.SYS_VFORK,
		unix.SYS_USELIB, unix.SYS_USTAT,
	}
	changesFilesLegacy = []uint32{
		unix.SYS_CREAT, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_UNLINK,
		unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_MKNOD, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN,
		unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
	}
	opensLegacy = []rule{{nr: unix.SYS_OPEN, errno: uint32(unix.EPERM), when: anyBit, arg: 1, value: writes}}
)
