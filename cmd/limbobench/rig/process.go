// Package rig starts and ends what the benchmark needs: the programs under
// test, their peers, and the load. Whatever it starts ends with the benchmark,
// also if that is killed.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end; a peer that holds a
// million lines in memory takes its time.
const stopTimeout = 15 * time.Second

// Process is a program that runs until it is stopped.
type Process struct {
	PID  int
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, valid after done
	errs tail
}

// start starts cmd, whose Stderr is taken over. It is killed when the thread
// that started it ends, which for a Go program means: with the program.
func start(cmd *exec.Cmd, name string) (*Process, error) {
	p := &Process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &p.errs
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// ^C in a terminal goes to the whole process group; the benchmark ends
	// its programs itself, in order.
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.PID = cmd.Process.Pid
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Stop ends the program with SIGTERM, and if that does not help with SIGKILL.
func (p *Process) Stop() error {
	if err := p.halt(); err != nil {
		return err
	}
	return p.failure()
}

// halt is Stop where it is known already that and why the program failed.
func (p *Process) halt() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("stopping %s: still running %s after SIGTERM, killed", p.name, stopTimeout)
}

// signal goes to all processes of the program, of which some or all may have
// ended already.
func (p *Process) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.PID, s)
	}
}

// failure returns an error if the program failed by itself.
func (p *Process) failure() error {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGTERM {
			return nil // the peers do not catch it
		}
	}
	if p.err != nil {
		return fmt.Errorf("running %s: %w: %s", p.name, p.err, lastLine(p.errs.String()))
	}
	return nil
}

// Alive returns an error if the program has ended.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		if err := p.failure(); err != nil {
			return err
		}
		return fmt.Errorf("running %s: it ended by itself: %s", p.name, lastLine(p.errs.String()))
	default:
		return nil
	}
}

// lastLine is where programs say why they fail; a stack stands before it.
func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

// Messages returns the last that the program wrote to standard error.
func (p *Process) Messages() string { return p.errs.String() }

// tail keeps the end of what is written to it.
type tail struct {
	sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.Lock()
	defer t.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.Lock()
	defer t.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.buf, []byte("?"))))
}

// until calls ready every interval until it is true, the program ends or the
// timeout has passed.
func (p *Process) until(ctx context.Context, what string, timeout, interval time.Duration, ready func() bool) error {
	deadline := time.Now().Add(timeout)
	for !ready() {
		if err := p.Alive(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting until %s %s: not within %s: %s", p.name, what, timeout, lastLine(p.errs.String()))
		}
		if err := Sleep(ctx, interval); err != nil {
			return err
		}
	}
	return nil
}

// Sleep sleeps, unless ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Finish runs a command that ends by itself and returns its CPU time. Its
// standard output goes to out.
func Finish(ctx context.Context, out io.Writer, argv ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs tail
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("running %s: %w: %s", strings.Join(argv, " "), err, lastLine(errs.String()))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// tempFile creates an empty file in dir.
func tempFile(dir, pattern string) (*os.File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("creating output file: %w", err)
	}
	return f, nil
}
