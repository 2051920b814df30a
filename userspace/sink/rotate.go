package sink

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// rotateRetry is how long a file may grow on before a failed rotation is tried
// again: a directory that refuses it will do so for each record.
const rotateRetry = time.Minute

// rotateDue rotates the file unless it is empty or that failed a moment ago.
func (f *File) rotateDue() error {
	now := time.Now()
	if f.size == 0 || now.Before(f.rotateAt) {
		return nil
	}
	// What we count can be wrong: something else may write to the file, or
	// have cut it short (logrotate's copytruncate).
	info, err := f.file.Stat()
	if err == nil {
		f.size = info.Size()
		if f.size < f.opt.MaxSize/2 {
			return nil
		}
		err = f.rotate()
	}
	if err != nil {
		f.rotateAt = now.Add(rotateRetry)
		return fmt.Errorf("rotating log file: %w", err)
	}
	return nil
}

// rotate moves path.1 to path.2 and so on as far as they are there, path to
// path.1, and starts path anew. The last one is overwritten.
func (f *File) rotate() error {
	for i := f.moving(); i >= 1; i-- {
		if err := os.Rename(f.name(i), f.name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(f.path, f.name(1)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.open(); err != nil {
		// The open file now has the name path.1 and is written on; give
		// it its name back, so that nobody looks for it in vain.
		return errors.Join(err, os.Rename(f.name(1), f.path))
	}
	return nil
}

// moving returns how many rotated files have to move: all up to the first gap,
// but the last that is kept.
func (f *File) moving() int {
	n := 0
	for n < f.opt.Keep-1 {
		if _, err := os.Lstat(f.name(n + 1)); err != nil {
			break
		}
		n++
	}
	return n
}

func (f *File) name(i int) string { return f.path + "." + strconv.Itoa(i) }
