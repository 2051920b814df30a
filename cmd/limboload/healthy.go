package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

func churnCommand() *cli.Command {
	return &cli.Command{
		Name:  "churn",
		Usage: "open and close loopback connections as fast as possible",
		Description: `Prints one JSON line: connections, transitions, seconds and rate. Each
connection makes ten state changes, both ends together; the client closes first.
Every connection stays in TIME_WAIT for a minute. In a network namespace of its
own it does not fill the host's table of these (tcp_max_tw_buckets).

EXAMPLES
   limboload churn --connections 100000
   limboload churn --connections 400000 --threads 2`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "connections", Value: 100_000, Usage: "`N` connections in all"},
			&cli.IntFlag{Name: "threads", Value: 1, Usage: "`N` connecting threads, each with an accepting one"},
			&cli.StringFlag{Name: "family", Value: "4", Usage: "4, 6 or mapped"},
			netnsFlag(),
		},
		Action: churn,
	}
}

func churn(c *cli.Context) (err error) {
	ns, err := openNetns(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	res, err := workload.Churn(c.Context, workload.ChurnSpec{
		Connections: c.Int("connections"), Threads: c.Int("threads"), Family: workload.Family(c.String("family")), NS: ns,
	})
	if err != nil {
		return err
	}
	line := map[string]any{
		"connections": res.Connections,
		"transitions": res.Connections * workload.Transitions,
		"seconds":     math.Round(res.Elapsed.Seconds()*1e6) / 1e6,
		"rate":        math.Round(res.Rate()),
	}
	if err := json.NewEncoder(c.App.Writer).Encode(line); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

func holdCommand() *cli.Command {
	return &cli.Command{
		Name:  "hold",
		Usage: "hold idle ESTABLISHED connections",
		Description: `Opens both ends of N connections on loopback, prints {"ready":true} and holds
them until standard input closes or SIGTERM comes. Where the limit of open
files is too low for one process, several share the work.

EXAMPLES
   limboload hold --connections 50000 </dev/tty`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "connections", Value: 10_000, Usage: "`N` connections, two sockets each"},
			&cli.StringFlag{Name: "family", Value: "4", Usage: "4, 6 or mapped"},
		},
		Action: hold,
	}
}

// spareFiles are the descriptors a process needs beside its sockets.
const spareFiles = 64

func hold(c *cli.Context) error {
	n := c.Int("connections")
	if n < 0 {
		return usageError{fmt.Errorf("--connections %d: want a positive number", n)}
	}
	limit, err := workload.RaiseFileLimit(uint64(2*n) + spareFiles)
	if err != nil {
		return err
	}
	if limit < 2*spareFiles {
		return fmt.Errorf("holding connections with at most %d open files: raise the limit (ulimit -n)", limit)
	}
	own := min(n, int(limit-spareFiles)/2)
	held, err := workload.Hold(nil, workload.Family(c.String("family")), own)
	if err != nil {
		return err
	}
	defer held.Close()
	wait := func() error { return nil }
	if n > own {
		if wait, err = holdMore(c, n-own); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(c.App.Writer).Encode(map[string]bool{"ready": true}); err != nil {
		return errors.Join(fmt.Errorf("writing to standard output: %w", err), wait())
	}
	untilEOF(c.Context, c.App.Reader)
	return wait()
}

// holdMore lets another process hold n connections, and in its turn others.
// The function returned ends it.
func holdMore(c *cli.Context, n int) (func() error, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the running program: %w", err)
	}
	cmd := exec.Command(exe, "hold", "--connections", strconv.Itoa(n), "--family", c.String("family"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting another process for %d connections: %w", n, err)
	}
	wait := func() error {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("ending the process with %d connections: %w", n, err)
		}
		return nil
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "ready") {
		return nil, errors.Join(fmt.Errorf("waiting for the process with %d connections: got %q", n, line), wait())
	}
	return wait, nil
}

// untilEOF returns when in or ctx ends.
func untilEOF(ctx context.Context, in io.Reader) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, in)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
