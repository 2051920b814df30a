package owner

import (
	"bytes"
	"io"
	"os"
	"slices"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// cgroupFile bounds /proc/PID/cgroup: some 15 hierarchies with a path each.
const cgroupFile = 64 << 10

// Cgroups returns the paths of a process' cgroups, each once, one for each hierarchy
// that has another (cgroups(7)); nil if the process is gone, or is not known well enough
// to be told from one that got its pid.
func (r *Resolver) Cgroups(t flow.Task) []string {
	if t.PID == 0 || t.StartBoot == 0 {
		return nil
	}
	f, err := os.Open(r.proc.file(t.PID, "cgroup"))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, cgroupFile))
	if err != nil {
		return nil
	}
	// Read after the file: a pid that was reused before shows here.
	if is, ok := r.proc.process(t.PID); !ok || !is.Began(t.StartBoot) {
		return nil
	}
	return cgroupPaths(text)
}

// cgroupPaths takes the third field of each line, "number:controllers:path".
func cgroupPaths(text []byte) (paths []string) {
	for line := range bytes.Lines(text) {
		fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(":"), 3)
		if len(fields) != 3 {
			continue
		}
		// Of a cgroup that was removed (kernel/cgroup/cgroup.c, proc_cgroup_show).
		path := string(bytes.TrimSuffix(fields[2], []byte(" (deleted)")))
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}
