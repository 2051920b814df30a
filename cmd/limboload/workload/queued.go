package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// HoldQueued opens n connections on loopback whose buffers are small and full. The
// receiver's must be so before there is a window that it would have to take back.
func HoldQueued(ns *Namespace, f Family, n int) (*Held, error) {
	h, err := hold(ns, f, n, smallBuffer)
	if err != nil {
		return nil, err
	}
	if err := h.queue(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// queue fills the connections until their buffers take no more, so that each has
// written data that is not acknowledged.
func (h *Held) queue() error {
	for i := 0; i < len(h.fds); i += 2 {
		for _, fd := range h.fds[i : i+2] {
			err := errors.Join(
				unix.SetNonblock(fd, true),
				// Some kilobytes: the kernel doubles it (net/core/sock.c).
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, smallBuffer),
			)
			if err != nil {
				return fmt.Errorf("setting buffers: %w", err)
			}
		}
		if err := fillUp(h.fds[i]); err != nil {
			return err
		}
	}
	return nil
}

// Trickle lets what waits move, each connection once in a period, until ctx ends:
// the reader takes all there is, and the writer fills the buffers anew.
func (h *Held) Trickle(ctx context.Context, period time.Duration) error {
	const rounds = 100 // of a period
	pace := time.NewTicker(period / rounds)
	defer pace.Stop()
	n := len(h.fds) / 2
	for part := 0; ; part++ {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		for i := part % rounds * n / rounds; i < (part%rounds+1)*n/rounds; i++ {
			if err := errors.Join(takeAll(h.fds[2*i+1]), fillUp(h.fds[2*i])); err != nil {
				return err
			}
		}
	}
}

func fillUp(fd int) error {
	for buf := make([]byte, smallBuffer); ; {
		_, err := unix.Write(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("filling a connection: %w", err)
		}
	}
}

func takeAll(fd int) error {
	for buf := make([]byte, 16*smallBuffer); ; {
		_, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("emptying a connection: %w", err)
		}
	}
}
