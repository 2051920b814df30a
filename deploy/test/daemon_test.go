package deploytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemon is a program that runs until the test ends.
type daemon struct {
	*exec.Cmd
	stdout, stderr *safeBuffer
	ended          chan struct{}
}

// safeBuffer is written by one goroutine and read by another.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts a program; it is told to end, and waited for, when the test ends.
func start(t *testing.T, path string, args ...string) *daemon {
	t.Helper()
	d := &daemon{Cmd: exec.Command(path, args...), stdout: new(safeBuffer), stderr: new(safeBuffer), ended: make(chan struct{})}
	d.Stdout, d.Stderr = d.stdout, d.stderr
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_ = d.Wait()
	}()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", path, clip(d.stderr.String()))
		}
	})
	return d
}

// startPart starts a program of a package that is unpacked and not installed, in
// a mount namespace where it stands in /usr like an installed one, with its
// libraries and templates. An installed one is started as it is.
func startPart(t *testing.T, name string, args ...string) *daemon {
	t.Helper()
	path := tool(t, name)
	parts := os.Getenv("PARTS")
	relative, unpacked := strings.CutPrefix(path, parts+"/")
	if parts == "" || !unpacked {
		return start(t, path, args...)
	}
	const inPlace = `mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr && exec "$@"`
	return start(t, "unshare", append([]string{"--mount", "sh", "-c", inPlace, parts, "/" + relative}, args...)...)
}

func (d *daemon) stop() {
	_ = d.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(10 * time.Second):
		_ = d.Process.Kill()
		<-d.ended
	}
}

func clip(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "(...)" + text[len(text)-most:]
	}
	return text
}

// runAgent starts the agent and returns the address of its metrics once it is ready.
func runAgent(t *testing.T, args ...string) (*daemon, string) {
	t.Helper()
	needRoot(t)
	d := start(t, program("tcplimbo"), append([]string{"run", "--metrics-addr", "127.0.0.1:0"}, args...)...)
	var address string
	until(t, 30*time.Second, func() string {
		for line := range strings.Lines(d.stderr.String()) {
			var said struct{ Address string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Address != "" {
				address = said.Address
				return ""
			}
		}
		select {
		case <-d.ended:
			t.Fatalf("the agent ended: %s", d.stderr)
		default:
		}
		return "the agent is not ready: " + d.stderr.String()
	})
	return d, address
}

// onlyOurs returns the settings of an agent that flags what limboload leaks, and
// nothing else: other sockets of the host are none of the test's.
func onlyOurs(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tcplimbo.yaml")
	write(t, file, fmt.Sprintf(`
close-wait: 1000h
rules:
  - match: {executable: %q}
    close-wait: 1s
`, program("limboload")))
	return []string{"--config", file, "--syn-sent=1000h", "--fin-wait2=1000h", "--closing=1000h"}
}

// writeSlowly keeps a connection whose writer is faster than its reader, until
// the test ends.
func writeSlowly(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	writer, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(listener.Close(), writer.Close(), reader.Close()) })
	go func() { _, _ = io.Copy(writer, zeros{}) }()
	go func() {
		for buffer := make([]byte, 256<<10); ; time.Sleep(5 * time.Millisecond) {
			if _, err := reader.Read(buffer); err != nil {
				return
			}
		}
	}()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// leak is sockets that are stuck until end is called.
type leak struct {
	*exec.Cmd
	stdin io.Closer
	once  sync.Once
}

// leakSockets makes stuck sockets of a kind, as limboload names them.
func leakSockets(t *testing.T, kind string, count int) *leak {
	t.Helper()
	needRoot(t)
	l := &leak{Cmd: exec.Command(program("limboload"), "stuck", "--kind", kind, "--count", fmt.Sprint(count))}
	stdin, err := l.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := l.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.Stderr = os.Stderr
	l.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	l.stdin = stdin
	t.Cleanup(l.end)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), `"ready":true`) {
			return l
		}
	}
	t.Fatal("limboload made no sockets")
	return nil
}

func (l *leak) end() {
	l.once.Do(func() {
		_ = l.stdin.Close()
		_ = l.Wait()
	})
}

// freeAddress is an address on loopback that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
