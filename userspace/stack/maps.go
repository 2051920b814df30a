package stack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
)

const (
	// maxMapsBytes is how much of /proc/PID/maps is read: 100,000 mappings,
	// above the 65,530 that vm.max_map_count allows by default.
	maxMapsBytes = 8 << 20
	// maxRegions is how many executable mappings of a process are kept. Chromium
	// with everything loaded has some 300.
	maxRegions = 2048
	// maxPath is PATH_MAX, four times as long where every byte is escaped.
	maxPath = 4 * 4096
)

// region is an executable mapping.
type region struct {
	start, end uint64
	// offset is where in the file it begins.
	offset uint64
	// inode is 0 for memory that is no file's.
	inode uint64
	// path is as /proc/PID/maps writes it; names in brackets are the kernel's.
	path string
}

// readMaps reads the executable mappings of a process in the order of their
// addresses.
func readMaps(path string) ([]region, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMaps(f)
}

// parseMaps takes lines as proc_pid_maps(5) describes them and skips those that
// it does not understand. It stops at its limits without an error: addresses
// behind them are unknown.
func parseMaps(r io.Reader) ([]region, error) {
	var out []region
	var last string
	lines := bufio.NewScanner(io.LimitReader(r, maxMapsBytes))
	lines.Buffer(make([]byte, 0, 1024), maxPath+256)
	for lines.Scan() && len(out) < maxRegions {
		m, path, ok := parseRegion(lines.Bytes())
		if !ok {
			continue
		}
		// A library's mappings stand next to each other and share its name.
		if string(path) != last {
			last = string(path)
		}
		m.path = last
		out = append(out, m)
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("reading mappings: %w", err)
	}
	return out, nil
}

// parseRegion reads "start-end perms offset dev inode   path", if that can be
// executed.
func parseRegion(line []byte) (m region, path []byte, ok bool) {
	var fields [5][]byte
	rest := line
	for i := range fields {
		var found bool
		fields[i], rest, found = bytes.Cut(rest, []byte{' '})
		if !found && i < len(fields)-1 {
			return m, nil, false
		}
	}
	from, to, _ := bytes.Cut(fields[0], []byte{'-'})
	if len(fields[1]) != 4 || fields[1][2] != 'x' {
		return m, nil, false
	}
	var errs [4]error
	m.start, errs[0] = strconv.ParseUint(string(from), 16, 64)
	m.end, errs[1] = strconv.ParseUint(string(to), 16, 64)
	m.offset, errs[2] = strconv.ParseUint(string(fields[2]), 16, 64)
	m.inode, errs[3] = strconv.ParseUint(string(fields[4]), 10, 64)
	for _, err := range errs {
		if err != nil {
			return m, nil, false
		}
	}
	if m.start >= m.end || m.offset+(m.end-m.start) < m.offset {
		return m, nil, false
	}
	return m, bytes.TrimLeft(rest, " "), true
}

// find returns the mapping that an address is in, nil if it is in none.
func find(regions []region, addr uint64) *region {
	for i := range regions {
		if addr >= regions[i].start && addr < regions[i].end {
			return &regions[i]
		}
	}
	return nil
}
