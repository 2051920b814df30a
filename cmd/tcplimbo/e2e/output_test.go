package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// lockedBuffer is a buffer that may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// written is a running tcplimbo whose output is looked at as bytes.
type written struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr lockedBuffer
	terminal       bool
	exited         chan struct{}
}

// terminalWidth is that of the terminals that the test opens; the columns of trace
// take 113.
const terminalWidth = 120

func newOutput(t *testing.T, args ...string) *written {
	t.Helper()
	needBPF(t)
	o := &written{t: t, cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	o.cmd.Stderr = &o.stderr
	return o
}

func startOutput(t *testing.T, args ...string) *written {
	t.Helper()
	o := newOutput(t, args...)
	o.cmd.Stdout = &o.stdout
	o.start(func() {})
	return o
}

// startTerminal runs it on a terminal of its own, where it uses colours and
// fits lines to the width.
func startTerminal(t *testing.T, args ...string) *written {
	t.Helper()
	o := newOutput(t, args...)
	o.terminal = true
	master, slave := openTerminal(t)
	o.cmd.Stdout = slave
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&o.stdout, master) // EIO when the last writer is gone
	}()
	o.start(func() {
		_ = slave.Close()
		<-read
		_ = master.Close()
	})
	return o
}

// start starts it; done is called at its end, before exited is closed.
func (o *written) start(done func()) {
	o.t.Helper()
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	go func() {
		_ = o.cmd.Wait()
		done()
		close(o.exited)
	}()
	o.t.Cleanup(func() {
		_ = o.cmd.Process.Kill()
		<-o.exited
	})
}

// openTerminal opens a pseudo-terminal of terminalWidth that passes on what is
// written as it is.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: terminalWidth})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// marked tells whether the hostile process is in the output.
func (o *written) marked() bool { return strings.Contains(o.stdout.String(), hostileMark) }

func tailOf(s string) string { return s[max(0, len(s)-2000):] }

// end waits for the exit and checks all that was written.
func (o *written) end(code int, marked bool) {
	o.t.Helper()
	select {
	case <-o.exited:
	case <-time.After(readyTime):
		o.t.Fatalf("%s has not ended", o.cmd.Args[1])
	}
	if got := o.cmd.ProcessState.ExitCode(); got != code {
		o.t.Errorf("%.200q: exit code %d, want %d: %s", o.cmd.Args[1:], got, code, tailOf(o.stderr.String()))
	}
	o.check(marked)
}

// colours are the only sequences that may reach a terminal: tcplimbo's own.
var colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// check looks at both streams; marked says that the hostile name must be there,
// made harmless, or the test would prove nothing.
func (o *written) check(marked bool) {
	o.t.Helper()
	what := strings.Join(o.cmd.Args[1:min(4, len(o.cmd.Args))], " ")
	text := []byte(o.stdout.String())
	if marked && !o.marked() {
		o.t.Errorf("%s: the name is not in the output: %s", what, text)
	}
	checkText(o.t, what+", standard error", []byte(o.stderr.String()))
	switch {
	case o.terminal:
		plain := colours.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), nil)
		checkText(o.t, what+", terminal", plain)
		for line := range strings.Lines(string(plain)) {
			if w := readable.Width(strings.TrimSuffix(line, "\n")); w > terminalWidth {
				o.t.Errorf("%s: %d columns on a terminal of %d: %s", what, w, terminalWidth, line)
			}
		}
	case bytes.HasPrefix(text, []byte("{\"time\"")):
		checkLines(o.t, what, text)
	default:
		checkText(o.t, what, text)
	}
}
