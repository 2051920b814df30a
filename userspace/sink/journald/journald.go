// Package journald writes records to the systemd journal, with a field for each
// key, by the journal's native protocol.
package journald

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
)

// Socket is where journald listens.
const Socket = "/run/systemd/journal/socket"

// Identifier is the records' SYSLOG_IDENTIFIER: journalctl -t tcplimbo.
const Identifier = "tcplimbo"

// Writer writes JSON lines as journal entries. It implements sink.Writer. It
// is not go-systemd's journal.Send, because that waits for journald without an
// end.
type Writer struct {
	path   string
	conn   *net.UnixConn
	fields []jsonline.Field
	entry  []byte
}

// Open returns a writer to the journal's socket. A journal that is not there is
// an error; one that restarts later is waited for.
func Open(path string) (*Writer, error) {
	w := &Writer{path: path}
	if err := w.connect(); err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	return w, nil
}

func (w *Writer) connect() error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: w.path, Net: "unixgram"})
	w.conn = conn
	return err
}

// Batch implements sink.Writer.
func (w *Writer) Batch() int { return 64 << 10 }

// Alive implements sink.Writer: a journal that is away is restarted by systemd.
func (w *Writer) Alive() error { return nil }

// Write implements sink.Writer.
func (w *Writer) Write(ctx context.Context, p []byte) (int, error) {
	written := 0
	for line := range bytes.Lines(p) {
		var err error
		w.entry, err = w.appendEntry(w.entry[:0], line)
		if err != nil {
			return written + len(line), &sink.RejectedError{Records: 1, Err: err}
		}
		if err := w.send(ctx, w.entry); err != nil {
			return written, fmt.Errorf("writing to the journal: %w", err)
		}
		written += len(line)
	}
	return written, nil
}

// sendStep is how long a full journal may hold the goroutine before it looks
// whether it shall end.
const sendStep = 100 * time.Millisecond

func (w *Writer) send(ctx context.Context, entry []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.conn == nil {
			if err := w.connect(); err != nil {
				return err
			}
		}
		err := w.attempt(entry)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS):
			return w.sendFile(entry)
		}
		// The journal's socket is another one after a restart.
		_ = w.conn.Close()
		w.conn = nil
		return err
	}
}

func (w *Writer) attempt(entry []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendStep)); err != nil {
		return err
	}
	_, err := w.conn.Write(entry)
	return err
}

// sendFile hands over an entry that is too large for a datagram as a sealed
// memory file, which journald reads instead.
func (w *Writer) sendFile(entry []byte) error {
	fd, err := unix.MemfdCreate("tcplimbo-journal-entry", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a memory file: %w", err)
	}
	file := os.NewFile(uintptr(fd), "journal entry")
	defer file.Close()
	if _, err := file.Write(entry); err != nil {
		return fmt.Errorf("filling a memory file: %w", err)
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("sealing a memory file: %w", err)
	}
	return w.pass(int(file.Fd()))
}

// pass sends a descriptor. net.UnixConn does not do that on a connected socket of
// datagrams.
func (w *Writer) pass(fd int) error {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(sendStep)); err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(to uintptr) bool {
		sent = unix.Sendmsg(int(to), nil, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}

// Close implements sink.Writer.
func (w *Writer) Close() error {
	if w.conn == nil {
		return nil
	}
	if err := w.conn.Close(); err != nil {
		return fmt.Errorf("closing the journal: %w", err)
	}
	return nil
}

// appendEntry appends a line as an entry.
func (w *Writer) appendEntry(dst, line []byte) ([]byte, error) {
	var err error
	if w.fields, err = jsonline.Decode(w.fields[:0], line); err != nil {
		return dst, err
	}
	dst = appendField(dst, "SYSLOG_IDENTIFIER", Identifier)
	for _, f := range w.fields {
		switch f.Key {
		case "message":
			dst = appendField(dst, "MESSAGE", text(f.Value))
		case "level":
			dst = appendField(dst, "PRIORITY", priority(f.Value))
		case "process.pid":
			// What makes `journalctl -u` and `systemctl status` of the unit
			// that holds the socket show the finding (systemd.journal-fields(7)).
			dst = appendField(dst, "OBJECT_PID", text(f.Value))
			dst = appendField(dst, Name(f.Key), text(f.Value))
		default:
			dst = appendValue(dst, Name(f.Key), f.Value)
		}
	}
	return dst, nil
}

// priority returns syslog's number, warning or info.
func priority(level any) string {
	if level == "warn" {
		return "4"
	}
	return "6"
}

// appendValue appends a value; of a list each one as a field of its own.
func appendValue(dst []byte, name string, value any) []byte {
	if list, ok := value.([]string); ok {
		for _, v := range list {
			dst = appendField(dst, name, v)
		}
		return dst
	}
	return appendField(dst, name, text(value))
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return fmt.Sprint(value)
}

const prefix = "TCPLIMBO_"

// Name returns the journal's name of a key: tcplimbo.finding.kind is
// TCPLIMBO_FINDING_KIND, process.pid is TCPLIMBO_PROCESS_PID.
func Name(key string) string {
	name := []byte(prefix + strings.ToUpper(strings.TrimPrefix(key, "tcplimbo.")))
	for i, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			name[i] = '_'
		}
	}
	return string(name)
}

// appendField appends one field in the native form: NAME=value, or where the
// value holds newlines NAME, its length and the value.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	if !strings.Contains(value, "\n") {
		dst = append(append(dst, '='), value...)
		return append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	return append(append(dst, value...), '\n')
}
