package privilege

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// writable reports whether the files can be written, created and renamed by owner and
// mode alone, without CAP_DAC_OVERRIDE.
func (n *Needs) writable() bool {
	return !slices.ContainsFunc(n.Files, func(file string) bool {
		if !permits(filepath.Dir(file)) {
			return true
		}
		_, err := os.Lstat(file)
		return err == nil && !permits(file)
	})
}

// permits says what the mode of a file grants this process. What is not known it takes
// for denied.
func permits(path string) bool {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false
	}
	need := uint32(0o2)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		need = 0o3
	}
	groups, err := os.Getgroups()
	if err != nil {
		return false
	}
	switch {
	case st.Uid == uint32(os.Geteuid()):
		need <<= 6
	case st.Gid == uint32(os.Getegid()), slices.Contains(groups, int(st.Gid)):
		need <<= 3
	}
	return st.Mode&need == need
}
