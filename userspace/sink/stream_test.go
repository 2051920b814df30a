package sink

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe returns both ends of a pipe of one page; the write end is a bare
// descriptor, as 1 is.
func pipe(t *testing.T, flags int) (*os.File, int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[1], flags&unix.O_NONBLOCK != 0); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(fds[0]), "pipe")
	t.Cleanup(func() { r.Close(); unix.Close(fds[1]) })
	return r, fds[1]
}

func stream(t *testing.T, fd int) *Stream {
	t.Helper()
	s, err := NewStream(fd, "stdout")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStreamWritesOnce(t *testing.T) {
	// Each write(2) to such a socket is one message.
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	s := New(stream(t, fds[1]), Options{Linger: time.Hour})
	const n = 50
	for i := range n {
		s.Put(Finding, line("f", i))
	}
	for i := range n {
		s.Put(Transition, line("t", i))
	}
	closeSink(t, s)
	unix.Close(fds[1])
	var messages []string
	buf := make([]byte, 1<<16)
	for {
		k, err := unix.Read(fds[0], buf)
		if k <= 0 || err != nil {
			break
		}
		messages = append(messages, string(buf[:k]))
	}
	if len(messages) != n+1 {
		t.Fatalf("%d writes, want one for each of %d findings and one for all transitions", len(messages), n)
	}
	for i := range n {
		if messages[i] != string(line("f", i)) {
			t.Errorf("write %d is %q", i, messages[i])
		}
	}
	if len(messages[n]) != n*9 {
		t.Errorf("transitions: %q", messages[n])
	}
}

func TestSlowReaderGetsEverything(t *testing.T) {
	for name, flags := range map[string]int{"blocking": 0, "non-blocking": unix.O_NONBLOCK} {
		t.Run(name, func(t *testing.T) {
			r, fd := pipe(t, flags)
			s := New(stream(t, fd), Options{})
			var want []byte
			for i := range 3000 {
				record := line(strings.Repeat("x", i%200)+"t", i)
				want = append(want, record...)
				s.Put(Class(i/1500), record)
			}
			if st := s.Stats(); st.Queued == 0 {
				t.Fatal("the pipe took everything, this tests nothing")
			}
			got := make(chan []byte, 1)
			go func() {
				all, _ := io.ReadAll(r)
				got <- all
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.Close(ctx); err != nil {
				t.Errorf("closing: %v", err)
			}
			unix.Close(fd)
			if all := <-got; !bytes.Equal(all, want) {
				t.Errorf("read %d bytes, want %d", len(all), len(want))
			}
		})
	}
}

func TestStalledReaderDoesNotHoldClose(t *testing.T) {
	for name, flags := range map[string]int{"blocking": 0, "non-blocking": unix.O_NONBLOCK} {
		t.Run(name, func(t *testing.T) {
			r, fd := pipe(t, flags)
			s := New(stream(t, fd), Options{Name: "stdout"})
			for i := range 3000 {
				s.Put(Class(i%2), line("l", i))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := s.Close(ctx)
			if took := time.Since(start); took > 1500*time.Millisecond {
				t.Errorf("closing took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), "records not written") {
				t.Errorf("closing: %v", err)
			}
			unix.Close(fd)
			all, _ := io.ReadAll(r)
			st := s.Stats()
			if lines := uint64(bytes.Count(all, []byte("\n"))); lines != st.Written || len(all) != int(lines)*9 {
				t.Errorf("%d lines in %d bytes were read, %d counted as written", lines, len(all), st.Written)
			}
			if st.Written+st.DroppedFindings+st.DroppedTransitions != 3000 {
				t.Errorf("stats do not add up: %+v", st)
			}
		})
	}
}

func TestStreamGone(t *testing.T) {
	r, fd := pipe(t, 0)
	w := stream(t, fd)
	if err := w.Alive(); err != nil {
		t.Errorf("with a reader: %v", err)
	}
	r.Close()
	if err := w.Alive(); !errors.Is(err, ErrGone) {
		t.Errorf("without a reader: %v", err)
	}
	if n, err := w.Write(t.Context(), []byte("x\n")); n != 0 || !errors.Is(err, ErrGone) || !errors.Is(err, unix.EPIPE) {
		t.Errorf("writing without a reader: %d, %v", n, err)
	}
}

func TestNewStreamRefuses(t *testing.T) {
	r, fd := pipe(t, 0)
	if _, err := NewStream(int(r.Fd()), "stdout"); err == nil {
		t.Error("a descriptor for reading was taken")
	}
	unix.Close(fd)
	if _, err := NewStream(fd, "stdout"); err == nil {
		t.Error("a closed descriptor was taken")
	}
}

func TestStreamFullDevice(t *testing.T) {
	fd, err := unix.Open("/dev/full", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("opening /dev/full: %v", err)
	}
	defer unix.Close(fd)
	n, err := stream(t, fd).Write(t.Context(), []byte("x\n"))
	if n != 0 || !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrGone) {
		t.Errorf("writing to a full device: %d, %v; want an error that may pass", n, err)
	}
}

const childEnv = "TCPLIMBO_SINK_TEST_CHILD"

// TestChild is the other process of TestClosedStdoutLosesNothing.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("runs as a child of another test")
	}
	w, err := NewStream(1, "stdout")
	if err != nil {
		t.Fatal(err)
	}
	s := New(w, Options{QueueBytes: 1 << 30})
	for i := range 100_000 {
		s.Put(Class(i%2), line(string(rune('f'+14*(i%2))), i/2))
	}
	<-s.Gone()
	os.Exit(42)
}

// TestClosedStdoutLosesNothing reads some lines of another process's standard
// output and closes it. The process must not die of SIGPIPE, and all that was
// read are whole lines without a gap.
func TestClosedStdoutLosesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	next := map[byte]int{}
	for range 20_000 {
		l, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("reading: %v", err)
		}
		if want := string(line(l[:1], next[l[0]])); l != want {
			t.Fatalf("read %q, want %q", l, want)
		}
		next[l[0]]++
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("the process ended with %v, want its own exit code 42", err)
	}
	if len(next) == 0 || slices.Max([]int{next['f'], next['t']}) < 10_000 {
		t.Errorf("read %v", next)
	}
}
