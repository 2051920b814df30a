package origin

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/procstat"
)

// maxFile bounds /proc/PID/cgroup: at most some 15 hierarchies of a path each.
const maxFile = 64 << 10

// placeOf reads in which container the process pid is. ok is false if it is gone,
// or not the one that started at the given time since boot; a start of 0 is that
// of any process that ran already at the time before.
func placeOf(procRoot string, pid uint32, start, before time.Duration) (p Place, ok bool) {
	dir := procRoot + "/" + strconv.FormatUint(uint64(pid), 10)
	file, err := readLimited(dir + "/cgroup")
	if err != nil {
		return Place{}, false
	}
	// Read after the cgroup: a pid that was reused before shows here.
	is, ok := procstat.Read(dir)
	if !ok || (start != 0 && !is.Began(start)) || (start == 0 && is.Start > before) {
		return Place{}, false
	}
	return ParseFile(file), true
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// ParseFile finds the container in what /proc/PID/cgroup holds: a line a
// hierarchy, "number:controllers:path" (cgroups(7)). The unified hierarchy has
// the word; on hosts with version 1 the runtime may not use it, and then it is
// systemd's or any other.
func ParseFile(file []byte) Place {
	var best Place
	for line := range bytes.Lines(file) {
		fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(":"), 3)
		if len(fields) != 3 {
			continue
		}
		p := ParsePath(string(fields[2]))
		unified := len(fields[1]) == 0
		switch {
		case !p.Known():
		case unified && p.ContainerID != "":
			return p
		case !best.Known(), best.ContainerID == "" && p.ContainerID != "",
			p.ContainerID != "" && string(fields[1]) == "name=systemd":
			best = p
		}
	}
	return best
}
