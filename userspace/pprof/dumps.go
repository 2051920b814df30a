package pprof

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxDumps and maxDumpBytes bound what lies in the folder.
	maxDumps     = 64
	maxDumpBytes = 64 << 20
	prefix       = "goroutine-"
	suffix       = ".pb.gz"
)

// Dumps is a folder of profiles, as `go tool pprof` reads them. The oldest make room
// for new ones.
type Dumps struct {
	mu  sync.Mutex
	dir string
}

// OpenDumps makes the folder if it is not there, and tries whether it can be
// written.
func OpenDumps(dir string) (*Dumps, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making folder for profiles: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+prefix)
	if err != nil {
		return nil, fmt.Errorf("writing to folder for profiles: %w", err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return nil, fmt.Errorf("writing to folder for profiles: %w", err)
	}
	return &Dumps{dir: dir}, nil
}

// Keep writes a profile and returns its name in the folder.
func (d *Dumps) Keep(comm string, pid uint32, at time.Time, b []byte) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.makeRoom(int64(len(b))); err != nil {
		return "", err
	}
	name := prefix + plain(comm) + "-" + strconv.FormatUint(uint64(pid), 10) + "-" + at.UTC().Format("20060102T150405.000") + suffix
	// Under another name until it is whole. 0600, as CreateTemp makes it: a
	// profile tells of a program what only its owner should know.
	f, err := os.CreateTemp(d.dir, "."+prefix)
	if err != nil {
		return "", fmt.Errorf("writing profile: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("writing profile: %w", err)
	}
	return name, nil
}

// plain makes a thread's name one of a file.
func plain(comm string) string {
	const most = 32
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, comm)
	if name == "" {
		return "_"
	}
	return name[:min(len(name), most)]
}

// makeRoom removes the oldest profiles until n more bytes fit, and what was left
// half written. Other files are left alone.
func (d *Dumps) makeRoom(n int64) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("listing profiles: %w", err)
	}
	var kept []fs.FileInfo
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+prefix) && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(d.dir, e.Name()))
		}
		if !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			kept = append(kept, info)
			n += info.Size()
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for i := 0; i < len(kept) && (len(kept)-i >= maxDumps || n > maxDumpBytes); i++ {
		if err := os.Remove(filepath.Join(d.dir, kept[i].Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing old profile: %w", err)
		}
		n -= kept[i].Size()
	}
	return nil
}
