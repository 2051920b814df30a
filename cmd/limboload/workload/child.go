package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv tells a re-executed program that it is a Child. Its value is the
// number of the control descriptor.
const childEnv = "LIMBOLOAD_CHILD"

// controlFD is where exec.Cmd puts the first of ExtraFiles.
const controlFD = 3

// childExit is how long a child may take to remove what it made.
const childExit = 10 * time.Second

// Child is another process that holds, accepts, passes on or makes sockets at
// our command. It runs the same executable, which must call RunChild first of
// all in main or TestMain.
type Child struct {
	// PID is the child's process id in our pid namespace.
	PID  int
	cmd  *exec.Cmd
	ctrl int
}

// ChildOptions say how a child is started. The zero value is a plain child.
type ChildOptions struct {
	// NS is the network namespace it lives in.
	NS *Namespace
	// Inherit are descriptors that it inherits, as a forked worker would. It
	// finds them at InheritedFD(0), InheritedFD(1) …
	Inherit []int
	// Executable is a copy of the program under another name; empty is the
	// running one.
	Executable string
	// Attr is for special needs such as another pid namespace.
	Attr *syscall.SysProcAttr
}

// InheritedFD returns the child's number of ChildOptions.Inherit[i].
func InheritedFD(i int) int { return controlFD + 1 + i }

// StartChild starts a child.
func StartChild(o ChildOptions) (*Child, error) {
	exe := o.Executable
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding the running program: %w", err)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("creating a control socket: %w", err)
	}
	defer closeAll(pair[1])
	c := &Child{ctrl: pair[0], cmd: exec.Command(exe)}
	files, err := extraFiles(append([]int{pair[1]}, o.Inherit...))
	if err != nil {
		closeAll(pair[0])
		return nil, err
	}
	c.cmd.ExtraFiles = files
	c.cmd.Env = append(os.Environ(), childEnv+"="+strconv.Itoa(controlFD))
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = o.Attr
	err = o.NS.Do(c.cmd.Start)
	for _, f := range files {
		_ = f.Close()
	}
	if err != nil {
		closeAll(pair[0])
		return nil, fmt.Errorf("starting a child process: %w", err)
	}
	c.PID = c.cmd.Process.Pid
	if _, err := c.call(request{Op: "hello"}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// extraFiles duplicates descriptors into files that can be closed without
// closing the originals.
func extraFiles(fds []int) ([]*os.File, error) {
	files := make([]*os.File, 0, len(fds))
	for _, fd := range fds {
		d, err := Dup(fd)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, err
		}
		files = append(files, os.NewFile(uintptr(d), "inherited"))
	}
	return files, nil
}

// Keep passes descriptors to the child (SCM_RIGHTS) and returns their numbers
// there.
func (c *Child) Keep(fds ...int) ([]int, error) {
	r, err := c.call(request{Op: "keep"}, fds...)
	return r.FDs, err
}

// Accept lets the child accept from a listener it has and returns its
// descriptor of the connection.
func (c *Child) Accept(listener int) (int, error) {
	r, err := c.call(request{Op: "accept", FDs: []int{listener}})
	if err != nil {
		return -1, err
	}
	return r.FDs[0], nil
}

// Dup lets the child duplicate its descriptor and returns the new one.
func (c *Child) Dup(fd int) (int, error) {
	r, err := c.call(request{Op: "dup", FDs: []int{fd}})
	if err != nil {
		return -1, err
	}
	return r.FDs[0], nil
}

// CloseFDs lets the child close descriptors.
func (c *Child) CloseFDs(fds ...int) error {
	_, err := c.call(request{Op: "close", FDs: fds})
	return err
}

// SetName gives the child's main thread a name (comm), at most 15 bytes.
func (c *Child) SetName(name string) error {
	_, err := c.call(request{Op: "name", Name: []byte(name)})
	return err
}

// Make lets the child make the sockets of a Spec in its own network namespace
// and hold them. The number returned is for End.
func (c *Child) Make(spec Spec) (int, []*Truth, error) {
	r, err := c.call(request{Op: "make", Spec: &spec})
	return r.Set, r.Truths, err
}

// End lets the child end a set and returns the truths with their outcomes.
func (c *Child) End(set int, how End) ([]*Truth, error) {
	r, err := c.call(request{Op: "end", Set: set, How: how})
	return r.Truths, err
}

// Close lets the child remove what it made and exit, and kills it if it does
// not.
func (c *Child) Close() error {
	closeAll(c.ctrl)
	c.ctrl = -1
	kill := time.AfterFunc(childExit, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("waiting for child %d: %w", c.PID, err)
	}
	return nil
}

// Kill ends the child at once; its descriptors are closed by the kernel.
func (c *Child) Kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing child %d: %w", c.PID, err)
	}
	_ = c.cmd.Wait() // says "killed", as it should
	closeAll(c.ctrl)
	c.ctrl = -1
	return nil
}

// call sends a request and collects its answer, which can take several
// packets.
func (c *Child) call(req request, fds ...int) (answer, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return answer{}, fmt.Errorf("encoding a request: %w", err)
	}
	if err := sendPacket(c.ctrl, b, fds); err != nil {
		return answer{}, fmt.Errorf("asking child %d to %s: %w", c.PID, req.Op, err)
	}
	var all answer
	for {
		var a answer
		b, _, err := receivePacket(c.ctrl)
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		if err == nil && a.Error != "" {
			err = errors.New(a.Error)
		}
		if err != nil {
			return answer{}, fmt.Errorf("asking child %d to %s: %w", c.PID, req.Op, err)
		}
		all.FDs, all.Set, all.Truths = a.FDs, a.Set, append(all.Truths, a.Truths...)
		if !a.More {
			return all, nil
		}
	}
}
