package main

import (
	"context"
	"io"
	"os"

	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/privilege"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// world is everything the commands touch; tests make another one.
type world struct {
	stdout, stderr io.Writer
	// stdoutTerminal and stderrTerminal say how to write there.
	stdoutTerminal, stderrTerminal terminal
	lookupEnv                      func(string) (string, bool)
	// environ is os.Environ.
	environ func() []string
	host    check.Host
	kernel  check.Kernel

	// takeLess has the whole process take less of the host, see idle.go.
	takeLess func()
	// dropPrivileges is privilege.Drop.
	dropPrivileges func(privilege.Needs) (privilege.Dropped, error)

	// What the commands do once all input is known to be good.
	runAgent     func(context.Context, *agentInput) error
	listSockets  func(context.Context, *listInput) error
	traceSockets func(context.Context, *traceInput) error
}

// terminal is how a stream shows text.
type terminal struct {
	// Width in cells; 0 if it is not a terminal.
	Width int
	// Color is whether colours are wanted.
	Color bool
}

func thisHost() *world {
	return &world{
		stdout:         os.Stdout,
		stderr:         os.Stderr,
		stdoutTerminal: terminalOf(1),
		stderrTerminal: terminalOf(2),
		lookupEnv:      os.LookupEnv,
		environ:        os.Environ,
		host:           check.System(),
		kernel:         kernelProbe{},
		takeLess:       takeLess,
		dropPrivileges: privilege.Drop,
		runAgent:       runAgent,
		listSockets:    listSockets,
		traceSockets:   traceSockets,
	}
}

func terminalOf(fd int) terminal {
	return terminal{Width: readable.TerminalWidth(fd), Color: readable.WantsColor(fd, os.Getenv)}
}

// output remembers the first write that went wrong, for the many places that
// print without looking.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}
