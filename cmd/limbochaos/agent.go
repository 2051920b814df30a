package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyTime = 30 * time.Second
	stopTime  = 10 * time.Second
	maxLine   = 4096 // a JSON line is shorter
)

// agent is a running tcplimbo.
type agent struct {
	session
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr strings.Builder
	exited chan struct{}
	err    error // the exit

	pausedUntil atomic.Int64 // a boot time: nobody reads standard output before
	mu          sync.Mutex   // guards what follows
	samples     []usage
	foreign     int // lines about other people's sockets
	// wanted tells which lines are kept, by their namespace: on a shared machine most
	// speak of other people's sockets, and a slow reader is a fault of its own.
	wanted func(netns uint64) bool
	// shows asks the kernel whether what a record says is there at this moment; asking
	// counts who has no answer yet.
	shows  func(r *record) bool
	asking sync.WaitGroup
	// broken are lines that break the contract; cut is a last one without its end,
	// which only a kill excuses.
	broken []string
	cut    string
}

// launch says how an agent is started.
type launch struct {
	binary string
	args   []string
	env    []string
	dir    string // for the ready file
	// group is a cgroup.procs to start in, "" for our own.
	group string
}

// start starts an agent and waits until it is ready.
func start(l launch, j *journal) (*agent, error) {
	ready := filepath.Join(l.dir, "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the ready file: %w", err)
	}
	args := append([]string{"run", "--metrics-addr", "", "--ready-file", ready}, l.args...)
	a := &agent{cmd: exec.Command(l.binary, args...), exited: make(chan struct{}), wanted: j.knows, shows: j.shows}
	if l.group != "" {
		// It enters before its first own page is charged.
		a.cmd = exec.Command("/bin/sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, l.group, l.binary}, args...)...)
	}
	a.cmd.Env = append(os.Environ(), l.env...)
	a.cmd.Stderr = &a.stderr
	var err error
	if a.stdout, err = a.cmd.StdoutPipe(); err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	if err := smallPipe(a.stdout); err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the agent: %w", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.read()
		a.asking.Wait()
	}()
	go func() {
		<-read // the pipe must be empty before Wait closes it
		a.err = a.cmd.Wait()
		close(a.exited)
	}()
	go a.sample()
	return a, a.waitReady(ready)
}

// smallPipe lets a pipe hold a page, so that a reader who pauses is felt at once.
func smallPipe(r io.ReadCloser) error {
	conn, err := r.(*os.File).SyscallConn()
	if err != nil {
		return fmt.Errorf("reaching a pipe: %w", err)
	}
	var setErr error
	err = conn.Control(func(fd uintptr) {
		_, setErr = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, maxLine)
	})
	if err = errors.Join(err, setErr); err != nil {
		return fmt.Errorf("shrinking a pipe: %w", err)
	}
	return nil
}

func (a *agent) waitReady(file string) error {
	deadline := time.Now().Add(readyTime)
	for {
		if _, err := os.Stat(file); err == nil {
			a.ready = bootNow()
			return nil
		}
		select {
		case <-a.exited:
			return fmt.Errorf("the agent ended before it was ready: %w: %s", a.err, a.stderr.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.kill()
			return fmt.Errorf("the agent is not ready after %s: %s", readyTime, a.stderr.String())
		}
	}
}

// read takes lines until the pipe ends.
func (a *agent) read() {
	br := bufio.NewReaderSize(a.stdout, maxLine)
	for {
		for wait := boot(a.pausedUntil.Load()) - bootNow(); wait > 0; wait = boot(a.pausedUntil.Load()) - bootNow() {
			time.Sleep(wait)
		}
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			a.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (a *agent) take(line []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if line[len(line)-1] != '\n' {
		a.cut = fmt.Sprintf("a line without its end: %.200q", line)
		return
	}
	if netns, known := namespaceOf(line); known && !a.wanted(netns) {
		a.foreign++
		return
	}
	r, err := parseRecord(line)
	switch {
	case err != nil:
		a.broken = append(a.broken, err.Error())
	case len(line) >= maxLine:
		a.broken = append(a.broken, fmt.Sprintf("a line of %d bytes: %.200q", len(line), line))
	default:
		a.records = append(a.records, r)
		if r.opensOrphan() {
			a.asking.Go(func() { r.shown = a.shows(r) })
		}
	}
}

// suspend stops the agent for some time.
func (a *agent) suspend(d time.Duration) error {
	from := bootNow()
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping the agent: %w", err)
	}
	time.Sleep(d)
	err := a.cmd.Process.Signal(syscall.SIGCONT)
	a.dark = append(a.dark, span{from, bootNow()})
	if err != nil {
		return fmt.Errorf("continuing the agent: %w", err)
	}
	return nil
}

// stall does not read standard output for some time.
func (a *agent) stall(d time.Duration) {
	from := bootNow()
	a.pausedUntil.Store(int64(from + d))
	time.Sleep(d)
	a.dark = append(a.dark, span{from, bootNow()})
}

// abandon stops reading for good and returns what is wrong with how the agent takes
// it, "" if nothing is. It notices when it next has something to say.
func (a *agent) abandon() string {
	a.killed = true
	a.end = bootNow()
	_ = a.stdout.Close()
	select {
	case <-a.exited:
	case <-time.After(stopTime):
		a.kill()
		return fmt.Sprintf("the agent goes on %s after its reader went away", stopTime)
	}
	// What it logs is JSON here; what it ends with is for people.
	code, why := a.cmd.ProcessState.ExitCode(), 0
	for line := range strings.Lines(a.stderr.String()) {
		if !strings.HasPrefix(line, "{") {
			why++
		}
	}
	if code != 1 || why != 1 {
		return fmt.Sprintf("its reader went away, exit code %d: %s", code, a.stderr.String())
	}
	return ""
}

// kill ends the agent as the kernel's out-of-memory killer does.
func (a *agent) kill() {
	a.killed = true
	a.end = bootNow()
	_ = a.cmd.Process.Kill()
	<-a.exited
}

// stop ends the agent as an operator does, and says what is wrong with the end.
func (a *agent) stop() error {
	a.end = bootNow()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("sending SIGTERM to the agent: %w: %s", err, a.stderr.String())
	}
	select {
	case <-a.exited:
	case <-time.After(stopTime):
		a.kill()
		return fmt.Errorf("the agent has not ended %s after SIGTERM", stopTime)
	}
	if a.err != nil {
		return fmt.Errorf("the agent ended badly: %w: %s", a.err, a.stderr.String())
	}
	return nil
}
