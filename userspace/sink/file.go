package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileOptions are how a log file is kept.
type FileOptions struct {
	// MaxSize in bytes is when the file is rotated, 0 for never. A file is
	// larger only if one record alone is.
	MaxSize int64
	// Keep is how many rotated files stay (path.1 is the youngest), at
	// least 1.
	Keep int
}

// filePerm lets the owner's group read: log collectors run in it.
const filePerm = 0o640

// File appends lines to a file; each record is one line. Whatever goes wrong, the file holds whole
// records only: a record that was cut by a full disk is taken back.
type File struct {
	path string
	opt  FileOptions

	mu      sync.Mutex
	file    *os.File
	regular bool
	size    int64
	// torn is set where the file ends in half a line that is not ours to
	// remove: the next record starts with a newline.
	torn bool
	// rotateAt delays the next rotation after one failed.
	rotateAt time.Time
}

// OpenFile opens path for appending and creates it if it is not there.
func OpenFile(path string, opt FileOptions) (*File, error) {
	opt.Keep = max(opt.Keep, 1)
	f := &File{path: path, opt: opt}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	return f, nil
}

// open opens the file under f.path and puts it in the place of the present
// one, which stays if that fails.
func (f *File) open() error {
	// O_NONBLOCK: opening a FIFO without a reader must not hang. It means
	// nothing to a regular file.
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, filePerm)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	mode := info.Mode()
	if !mode.IsRegular() && mode.Type() != os.ModeDevice|os.ModeCharDevice {
		return errors.Join(fmt.Errorf("%s is neither a file nor a character device", f.path), file.Close())
	}
	if f.file != nil {
		// The old file was written as far as it could be; there is
		// nobody to tell about an error now.
		_ = f.file.Close()
	}
	f.file, f.regular, f.size = file, mode.IsRegular(), info.Size()
	f.torn = f.regular && endsTorn(f.path, info.Size())
	return nil
}

// endsTorn reports whether a file's last line has no end: its writer died in
// the middle of it.
func endsTorn(path string, size int64) bool {
	if size == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var last [1]byte
	_, err = file.ReadAt(last[:], size-1)
	return err == nil && last[0] != '\n'
}

// Batch implements Writer.
func (f *File) Batch() int { return fileBatch }

// Alive implements Writer.
func (f *File) Alive() error { return nil }

// Write implements Writer. Between two rotations it heeds ctx: where a batch fills
// many small files on a slow disk, the end must not wait for all of them.
func (f *File) Write(ctx context.Context, p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written := 0
	var rotateErr error
	for written < len(p) {
		if err := ctx.Err(); err != nil {
			return written, fmt.Errorf("writing log file: %w", err)
		}
		part, err := f.fit(p[written:])
		if err != nil {
			rotateErr = err
		}
		n, err := f.append(part)
		written += n
		if err != nil {
			return written, fmt.Errorf("writing log file: %w", err)
		}
	}
	return written, rotateErr
}

// fit returns as many records from the start of p as the file may take, after
// a rotation if it may take none. On an error too there is something to write:
// a file that grows too large is better than lost records.
func (f *File) fit(p []byte) ([]byte, error) {
	if f.opt.MaxSize <= 0 || !f.regular {
		return p, nil
	}
	if part := f.fitting(p); len(part) > 0 {
		return part, nil
	}
	err := f.rotateDue()
	if part := f.fitting(p); len(part) > 0 {
		return part, err
	}
	if end := bytes.IndexByte(p, '\n') + 1; end > 0 {
		p = p[:end]
	}
	return p, err
}

// fitting returns the lines of p for which the file has room.
func (f *File) fitting(p []byte) []byte {
	room := max(f.opt.MaxSize-f.size, 0)
	if int64(len(p)) <= room {
		return p
	}
	return p[:bytes.LastIndexByte(p[:room], '\n')+1]
}

// append writes whole records and returns how many bytes of them are in the
// file to stay.
func (f *File) append(p []byte) (int, error) {
	if f.torn {
		n, err := f.file.Write([]byte{'\n'})
		f.size += int64(n)
		if err != nil {
			return 0, err
		}
		f.torn = false
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	if err == nil {
		return n, nil
	}
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	f.heal(int64(n - whole))
	return whole, err
}

// heal removes the last n bytes of the file, the beginning of a record. If
// others wrote behind them they cannot be removed, only ended.
func (f *File) heal(n int64) {
	if n == 0 {
		return
	}
	info, err := f.file.Stat()
	if err != nil || !f.regular || info.Size() != f.size || f.file.Truncate(f.size-n) != nil {
		f.torn = f.regular
		return
	}
	f.size -= n
}

// Reopen opens the file anew under its path, after something else moved it
// away. If it cannot, writing goes on to the old one.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	if err := f.open(); err != nil {
		return fmt.Errorf("reopening log file: %w", err)
	}
	f.rotateAt = time.Time{}
	return nil
}

// Close implements Writer.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	if err != nil {
		return fmt.Errorf("closing log file: %w", err)
	}
	return nil
}
