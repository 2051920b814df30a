package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	// bufferSize is what the kernel fills at once at most (net/netlink/af_netlink.c,
	// netlink_recvmsg asks for 32 KiB skbs where the reader has room).
	bufferSize = 64 << 10
	// patience bounds the wait for an answer, which the kernel gives at once.
	patience = 5 * time.Second
	// messageType is SOCK_DIAG_BY_FAMILY (include/uapi/linux/sock_diag.h).
	messageType = 20
)

// conn talks to sock_diag in one network namespace: that of the thread that opened
// it. Package netlink's requests filter no states, hold a whole dump in memory and
// take 64 KiB for each message.
type conn struct {
	fd      int
	seq     uint32
	request []byte
	buf     []byte
}

// open connects to the present network namespace; buf is shared with conns that
// come later.
func (c *conn) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return fmt.Errorf("opening sock_diag: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		unix.Close(fd)
		return fmt.Errorf("opening sock_diag: %w", err)
	}
	if c.buf == nil {
		c.buf = make([]byte, bufferSize)
	}
	c.fd = fd
	return nil
}

func (c *conn) close() { unix.Close(c.fd) }

// dump calls fn for each socket of a family in some states.
func (c *conn) dump(family uint8, states flow.StateSet, fn func([]byte) error) error {
	return c.ask(&request{family: family, states: states}, unix.NLM_F_DUMP, fn)
}

// get calls fn for one socket; false if it is not there any more.
func (c *conn) get(id *flow.ID, device uint32, fn func([]byte) error) (bool, error) {
	r := request{family: unix.AF_INET6, states: 1<<flow.StateMax - 1, one: id, device: device}
	if id.Local.Addr().Is4() {
		r.family = unix.AF_INET
	}
	err := c.ask(&r, 0, fn)
	switch {
	case err == nil:
		return true, nil
	// ESTALE: another socket has its addresses now.
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		return false, nil
	}
	return false, err
}

func (c *conn) ask(r *request, flags uint16, fn func([]byte) error) error {
	c.seq++
	b := binary.NativeEndian.AppendUint32(c.request[:0], unix.SizeofNlMsghdr+requestSize)
	b = binary.NativeEndian.AppendUint16(b, messageType)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	c.request = r.append(b)
	if err := unix.Sendto(c.fd, c.request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking sock_diag: %w", err)
	}
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading sock_diag: %w", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // not the kernel
		}
		done, err := c.take(c.buf[:n], flags&unix.NLM_F_DUMP != 0, fn)
		if done || err != nil {
			return err
		}
	}
}

// take reads the messages that came together; done after the last of an answer.
func (c *conn) take(b []byte, dump bool, fn func([]byte) error) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		kind, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return true, fmt.Errorf("reading sock_diag: a message of %d bytes in %d", n, len(b))
		}
		body := b[unix.SizeofNlMsghdr:n]
		b = b[min(len(b), (n+3)&^3):]
		switch {
		case seq != c.seq: // what is left of an answer that was given up
		case kind == unix.NLMSG_DONE, kind == unix.NLMSG_ERROR:
			return true, errorIn(body)
		case kind == messageType:
			if err := fn(body); err != nil {
				return true, err
			}
			done = !dump
		}
	}
	return done, nil
}

// errorIn reads the error number at the end of an answer; 0 is none.
func errorIn(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(body)); n < 0 {
		return fmt.Errorf("asking sock_diag: %w", unix.Errno(-n))
	}
	return nil
}
