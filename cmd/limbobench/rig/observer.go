package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
)

// startTimeout is how long a program may take until it observes: bcc compiles
// its program first.
const startTimeout = 30 * time.Second

// Observer is a program that watches TCP connections and can be started again
// and again.
type Observer struct {
	Name string
	argv []string
	// ready says by what it is seen that the program observes.
	ready func(ctx context.Context, r *Running) error
	// metrics is where the program tells about itself, empty if nowhere.
	metrics string
	// readyFile is touched by the program, empty if it does not.
	readyFile string
	// PerConnection is how many records of a connection it writes if it loses
	// none; 0 if it does not write one for each.
	PerConnection int
	// local is set if it sees one network namespace only.
	local bool
}

// In returns the observer for a network namespace, which is itself if it sees
// all of them.
func (o *Observer) In(path string) *Observer {
	if !o.local {
		return o
	}
	in := *o
	in.argv = append([]string{"nsenter", "--net=" + path}, o.argv...)
	return &in
}

// Running is a started Observer.
type Running struct {
	*Process
	// Output is the file that has its standard output.
	Output string
	// Took is the time from the start until it observed.
	Took time.Duration
	obs  *Observer
}

// Bench is what all measurements share.
type Bench struct {
	// Root is the source tree, Dir a directory for what is written meanwhile.
	Root, Dir string
	// Quick measures for a shorter time.
	Quick bool
	// Patience is how long measurements may still wait, all together, until
	// nothing else uses the machine.
	Patience time.Duration
	// Binary is the built tcplimbo.
	Binary string
	// Progress tells what goes on.
	Progress func(format string, args ...any)
}

// Build builds the program under test as `make build` does.
func (b *Bench) Build(ctx context.Context) error {
	b.Binary = filepath.Join(b.Dir, "tcplimbo")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.Binary, "./cmd/tcplimbo")
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building tcplimbo: %w: %s", err, out)
	}
	return nil
}

// Run is `tcplimbo run` with its defaults and the given flags. The address of
// its metrics is its own, because another agent may have the default one.
func (b *Bench) Run(flags ...string) (*Observer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	o := &Observer{
		Name: "tcplimbo run", metrics: "http://" + addr + "/metrics",
		readyFile: filepath.Join(b.Dir, "ready"),
	}
	o.argv = append([]string{b.Binary, "run", "--ready-file", o.readyFile, "--metrics-addr", addr, "--group-above", "0"}, flags...)
	o.ready = func(ctx context.Context, r *Running) error {
		return r.until(ctx, "touches its ready file", startTimeout, time.Millisecond, func() bool {
			_, err := os.Stat(o.readyFile)
			return err == nil
		})
	}
	return o, nil
}

// Trace is `tcplimbo trace -o json`.
func (b *Bench) Trace() *Observer {
	return &Observer{Name: "tcplimbo trace -o json", argv: []string{b.Binary, "trace", "-o", "json"}, ready: attached, PerConnection: Transitions}
}

// Start starts an observer and waits until it observes.
func (b *Bench) Start(ctx context.Context, o *Observer) (*Running, error) {
	out, err := tempFile(b.Dir, "output-")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r, err := o.start(ctx, out)
	if err != nil {
		return nil, errors.Join(err, os.Remove(out.Name()))
	}
	r.Output = out.Name()
	return r, nil
}

// StartPiped is Start with standard output into a file of the caller, such as
// a pipe.
func (b *Bench) StartPiped(ctx context.Context, o *Observer, out *os.File) (*Running, error) {
	return o.start(ctx, out)
}

func (o *Observer) start(ctx context.Context, out *os.File) (*Running, error) {
	if o.readyFile != "" {
		if err := os.Remove(o.readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("removing ready file: %w", err)
		}
	}
	cmd := exec.Command(o.argv[0], o.argv[1:]...)
	cmd.Stdout = out
	began := time.Now()
	p, err := start(cmd, o.Name)
	if err != nil {
		return nil, err
	}
	r := &Running{Process: p, obs: o}
	if err := o.ready(ctx, r); err != nil {
		return nil, errors.Join(err, p.halt())
	}
	r.Took = time.Since(began)
	return r, nil
}

// attached waits until a connection makes one of the program's BPF programs
// run. It looks at the kernel's statistics, so it works for every tool that
// uses BPF and needs nothing from it; a tool's first output may be buffered.
func attached(ctx context.Context, r *Running) (err error) {
	stats, err := host.CountRuns()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	return r.until(ctx, "attaches its BPF program", startTimeout, 10*time.Millisecond, func() bool {
		before, err := host.Programs(r.PID)
		if err != nil || len(before) == 0 || connectOnce() != nil {
			return false
		}
		after, err := host.Programs(r.PID)
		return err == nil && runs(after) > runs(before)
	})
}

func runs(programs []host.Program) (n uint64) {
	for _, p := range programs {
		n += p.Runs
	}
	return n
}

// connectOnce makes some transitions on loopback.
func connectOnce() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// freeAddress returns an address of this host that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// End stops the program and removes its output.
func (r *Running) End() error { return errors.Join(r.Stop(), r.Forget()) }

// Forget removes the output.
func (r *Running) Forget() error {
	if r.Output == "" {
		return nil
	}
	if err := os.Remove(r.Output); err != nil {
		return fmt.Errorf("removing output: %w", err)
	}
	return nil
}

const (
	// settleTimeout is how long a program may still write after the last
	// transition: bpftrace needs some seconds for a million.
	settleTimeout = 60 * time.Second
	// settleCalm is how long a program has nothing to do if it is through, and
	// settleCPU what it may use meanwhile to find that out.
	settleCalm = 700 * time.Millisecond
	settleCPU  = 70 * time.Millisecond
)

// Settle waits until the program has dealt with all it has seen: its output
// does not grow and it uses next to no CPU.
func (r *Running) Settle(ctx context.Context) error {
	var size int64
	var used time.Duration
	since := time.Now()
	return r.until(ctx, "is through", settleTimeout, 20*time.Millisecond, func() bool {
		st, err := os.Stat(r.Output)
		if err != nil {
			return false
		}
		u, err := host.ReadUsage(r.PID)
		if err != nil {
			return false
		}
		if st.Size() != size || u.CPU-used > settleCPU {
			size, used, since = st.Size(), u.CPU, time.Now()
		}
		return time.Since(since) > settleCalm
	})
}
