package origin

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"
)

const (
	// maxFile bounds /proc/PID/cgroup: at most some 15 hierarchies of a path each.
	maxFile = 64 << 10
	// userHZ is the unit of /proc/PID/stat's times (include/asm-generic/param.h).
	userHZ = 100
)

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
	stat, err := readLimited(dir + "/stat")
	if err != nil {
		return Place{}, false
	}
	began, ok := parseStart(stat)
	if !ok || (start != 0 && began != start.Truncate(time.Second/userHZ)) || (start == 0 && began > before) {
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

// parseStart returns when a process started since boot, in hundredths of a second,
// from /proc/PID/stat. The name in its second field may hold anything; the last
// parenthesis ends it.
func parseStart(stat []byte) (time.Duration, bool) {
	const place = 22 - 3 // starttime (proc(5)), counted from after the name
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= place {
		return 0, false
	}
	ticks, err := strconv.ParseUint(string(fields[place]), 10, 62)
	return time.Duration(ticks) * (time.Second / userHZ), err == nil
}
