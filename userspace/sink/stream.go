package sink

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// pipeBatch is PIPE_BUF: a pipe takes that much whole or not at all
	// (pipe(7)), so that its reader never sees half a line.
	pipeBatch = 4096
	fileBatch = 64 << 10
	// pollInterval is how long a writer may overlook that its context ended.
	pollInterval = 100 // milliseconds
)

// Stream writes to an open descriptor, usually 1. It calls write(2) itself:
// os.Stdout would end the program by SIGPIPE where a reader is gone (os/signal,
// "SIGPIPE"), and os.NewFile may change the mode of a descriptor that is shared
// with other processes.
type Stream struct {
	fd      int
	name    string
	regular bool
}

// NewStream returns a writer to descriptor fd. The descriptor stays open after
// Close: it is not ours. A descriptor that cannot be written to is an error.
func NewStream(fd int, name string) (*Stream, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, fmt.Errorf("opening %s: %w: it is open for reading only", name, unix.EBADF)
	}
	return &Stream{fd: fd, name: name, regular: st.Mode&unix.S_IFMT == unix.S_IFREG}, nil
}

// Batch implements Writer.
func (s *Stream) Batch() int {
	if s.regular {
		return fileBatch
	}
	return pipeBatch
}

// Write implements Writer. A pipe that nobody empties makes it wait until ctx
// is done, whether the descriptor is in non-blocking mode or not.
func (s *Stream) Write(ctx context.Context, p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if err := s.waitWritable(ctx); err != nil {
			return written, err
		}
		n, err := unix.Write(s.fd, p[written:])
		if n > 0 {
			written += n
		}
		// EAGAIN after poll said yes: another process that shares the
		// pipe was faster.
		if err == nil || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		return written, s.wrap(err)
	}
	return written, nil
}

// waitWritable waits until poll(2) says that a write will not block: for a
// pipe that a write of up to PIPE_BUF bytes fits (pipe_poll, fs/pipe.c).
func (s *Stream) waitWritable(ctx context.Context) error {
	if s.regular {
		return nil
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("writing to %s: %w", s.name, err)
		}
		// An error or a hang-up is for write to report.
		if revents, err := s.poll(unix.POLLOUT, pollInterval); err != nil {
			return err
		} else if revents != 0 {
			return nil
		}
	}
}

func (s *Stream) poll(events int16, timeout int) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	_, err := unix.Poll(fds, timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return 0, s.wrap(err)
	}
	return fds[0].Revents, nil
}

// Alive implements Writer: a pipe without a reader polls POLLERR, a socket
// whose peer is gone POLLHUP.
func (s *Stream) Alive() error {
	if s.regular {
		return nil
	}
	revents, err := s.poll(0, 0)
	if err != nil {
		return err
	}
	if revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
		return s.wrap(unix.EPIPE)
	}
	return nil
}

// wrap tells final errors from those that may pass (a full disk).
func (s *Stream) wrap(err error) error {
	gone := errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EBADF) ||
		// A terminal that was hung up (tty_write, drivers/tty/tty_io.c).
		(errors.Is(err, unix.EIO) && !s.regular)
	if gone {
		return fmt.Errorf("writing to %s: %w: %w", s.name, ErrGone, err)
	}
	return fmt.Errorf("writing to %s: %w", s.name, err)
}

// Close implements Writer.
func (s *Stream) Close() error { return nil }
