package privilege

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// Calls that not every architecture has.
var (
	neverLegacy        = []uint32{unix.SYS_KEXEC_FILE_LOAD}
	changesFilesLegacy = []uint32{unix.SYS_RENAMEAT}
	opensLegacy        []rule
)
