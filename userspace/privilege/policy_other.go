//go:build !amd64 && !arm64

package privilege

// auditArch 0: there is no filter for this architecture.
const auditArch = 0

var (
	neverLegacy, changesFilesLegacy []uint32
	opensLegacy                     []rule
)
