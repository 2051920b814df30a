package journald

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// journal takes entries as journald does.
type journal struct {
	t    *testing.T
	conn *net.UnixConn
}

func listen(t *testing.T, path string) *journal {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &journal{t, conn}
}

// entry returns the next one, from a datagram or a memory file, by field.
func (j *journal) entry() map[string][]string {
	j.t.Helper()
	if err := j.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		j.t.Fatal(err)
	}
	buf, oob := make([]byte, 1<<20), make([]byte, 1024)
	n, m, _, _, err := j.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		j.t.Fatal(err)
	}
	data := buf[:n]
	if m > 0 {
		data = j.file(oob[:m])
	}
	return parse(j.t, data)
}

func (j *journal) file(oob []byte) []byte {
	j.t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		j.t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		j.t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	defer unix.Close(fds[0])
	// journald takes none that its writer could still change.
	if seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0); err != nil || seals&unix.F_SEAL_WRITE == 0 {
		j.t.Errorf("seals %#x, %v", seals, err)
	}
	buf := make([]byte, 1<<20)
	n, err := unix.Pread(fds[0], buf, 0)
	if err != nil {
		j.t.Fatal(err)
	}
	return buf[:n]
}

// parse reads the native form, https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
func parse(t *testing.T, data []byte) map[string][]string {
	t.Helper()
	fields := map[string][]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			t.Fatalf("an entry ends in %q", data)
		}
		name, value, text := strings.Cut(string(line), "=")
		if !text {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size+1:]
		}
		fields[name] = append(fields[name], value)
		data = rest
	}
	return fields
}

func lines() (all []byte, n int) {
	e := jsonline.New(jsonline.Options{Host: "h"})
	for _, s := range sinktest.Findings() {
		all = e.AppendFinding(all, &s.Finding)
		n++
	}
	return all, n
}

func open(t *testing.T) (*Writer, *journal, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, j, path
}

// fieldName is what journald accepts from outside (systemd's journal_field_valid).
var fieldName = regexp.MustCompile(`^[A-Z0-9][A-Z0-9_]{0,63}$`)

func TestEntries(t *testing.T) {
	w, j, _ := open(t)
	all, n := lines()
	written := make(chan error, 1)
	go func() {
		m, err := w.Write(t.Context(), all)
		if err == nil && m != len(all) {
			err = errors.New("not all was written")
		}
		written <- err
	}()
	each := slices.Collect(bytes.Lines(all))
	for i := range n {
		got := j.entry()
		fields, err := jsonline.Decode(nil, each[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			compare(t, got, f)
		}
		for name := range got {
			if !fieldName.MatchString(name) {
				t.Errorf("journald refuses the field %q", name)
			}
		}
		if !slices.Equal(got["SYSLOG_IDENTIFIER"], []string{"tcplimbo"}) {
			t.Errorf("identifier %q", got["SYSLOG_IDENTIFIER"])
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, got map[string][]string, f jsonline.Field) {
	t.Helper()
	name, want := Name(f.Key), []string{text(f.Value)}
	switch f.Key {
	case "message":
		name = "MESSAGE"
	case "level":
		name, want = "PRIORITY", []string{map[any]string{"warn": "4", "info": "6"}[f.Value]}
	case "process.pid":
		if !slices.Equal(got["OBJECT_PID"], want) {
			t.Errorf("OBJECT_PID is %q, want %q", got["OBJECT_PID"], want)
		}
	}
	if list, ok := f.Value.([]string); ok {
		want = list
	}
	if !slices.Equal(got[name], want) {
		t.Errorf("%s is %q, want %q", name, got[name], want)
	}
}

// TestNamesDiffer: two keys of a record are two fields.
func TestNamesDiffer(t *testing.T) {
	all, _ := lines()
	for line := range bytes.Lines(all) {
		fields, err := jsonline.Decode(nil, line)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, f := range fields {
			if other, twice := seen[Name(f.Key)]; twice {
				t.Errorf("%s and %s are both %s", f.Key, other, Name(f.Key))
			}
			seen[Name(f.Key)] = f.Key
		}
	}
}

func TestNewlines(t *testing.T) {
	w, j, _ := open(t)
	line := []byte(`{"level":"info","code.stacktrace":"a (b:1)\nMESSAGE=forged\n","message":"m\nPRIORITY=0"}` + "\n")
	if _, err := w.Write(t.Context(), line); err != nil {
		t.Fatal(err)
	}
	got := j.entry()
	if !slices.Equal(got["TCPLIMBO_CODE_STACKTRACE"], []string{"a (b:1)\nMESSAGE=forged\n"}) ||
		!slices.Equal(got["MESSAGE"], []string{"m\nPRIORITY=0"}) || !slices.Equal(got["PRIORITY"], []string{"6"}) {
		t.Errorf("got %q", got)
	}
}

// TestLargeEntry: what no datagram takes goes by a sealed memory file.
func TestLargeEntry(t *testing.T) {
	w, j, _ := open(t)
	if err := w.conn.SetWriteBuffer(1); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 32<<10)
	if _, err := w.Write(t.Context(), []byte(`{"message":"`+large+"\"}\n")); err != nil {
		t.Fatal(err)
	}
	if got := j.entry()["MESSAGE"]; !slices.Equal(got, []string{large}) {
		t.Errorf("a message of %d bytes", len(strings.Join(got, "")))
	}
}

// TestFullJournal: a journal that reads nothing holds a writer no longer than its
// context.
func TestFullJournal(t *testing.T) {
	w, _, _ := open(t)
	all, _ := lines()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for {
		if _, err := w.Write(ctx, all); errors.Is(err, context.DeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRestartedJournal: the socket is another one afterwards.
func TestRestartedJournal(t *testing.T) {
	w, j, path := open(t)
	all, n := lines()
	_ = j.conn.Close()
	_ = os.Remove(path)
	if m, err := w.Write(t.Context(), all); err == nil || m != 0 {
		t.Fatalf("wrote %d bytes to nobody, %v", m, err)
	}
	if m, err := w.Write(t.Context(), all); err == nil || m != 0 {
		t.Fatalf("wrote %d bytes to nobody, %v", m, err)
	}
	again := listen(t, path)
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(t.Context(), all)
		written <- err
	}()
	for range n {
		again.entry()
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestNoJournal(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !strings.HasPrefix(err.Error(), "opening the journal: ") {
		t.Error(err)
	}
}

func TestBrokenRecordIsLeftOut(t *testing.T) {
	w, j, _ := open(t)
	good := []byte("{\"message\":\"m\"}\n")
	n, err := w.Write(t.Context(), append([]byte("{broken\n"), good...))
	if rejected, ok := errors.AsType[*sink.RejectedError](err); n != 8 || !ok || rejected.Records != 1 {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if n, err := w.Write(t.Context(), good); err != nil || n != len(good) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	j.entry()
}
