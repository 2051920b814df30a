package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// gcPercent halves what the garbage collector lets grow: the agent allocates
// little, and memory on every node costs more than a collection now and then.
const gcPercent = 50

// runAgent watches until ctx is done.
func runAgent(ctx context.Context, in *agentInput) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	cfg := agentConfig(in)
	// What is kept follows what is written, so it is let go of after the sinks.
	release := func() {}
	defer func() { release() }()
	out, err := openRecords(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	kernel, polled, err := in.Source.open(tracer.Options{
		Watch:       agent.States(cfg.Threshold),
		Established: cfg.Threshold[finding.EstablishedStalled] > 0,
		RingBytes:   uint32(in.Config.RingBytes),
		MaxPromoted: uint32(in.Config.MaxPromoted),
		YoungSlots:  uint32(in.Config.YoungSlots),
	}, &in.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	if polled {
		cfg.Poll = pollPace(cfg.Threshold)
	}
	release = keepState(in, &cfg)
	a := agent.New(cfg, kernel, out, in.Metrics, in.Log)
	return a.Run(out.ctx)
}

// attach loads and attaches the kernel side.
func attach(opts tracer.Options) (*tracer.Tracer, error) {
	kernel, err := tracer.Load(opts)
	if err != nil {
		return nil, kernelError(err)
	}
	if err := kernel.Attach(); err != nil {
		return nil, errors.Join(kernelError(err), kernel.Close())
	}
	return kernel, nil
}

func agentConfig(in *agentInput) agent.Config {
	cfg := agent.Config{
		Tick:      in.Config.EffectiveTick(),
		IdleAudit: in.Config.IdleAudit,
		Queues: writequeue.Limits{
			Pending: uint64(in.Config.WarnPending), Undrained: in.Config.WarnUndrained, Flush: in.Config.WarnFlushP99,
		},
		BootID:   bootID(),
		ProcRoot: procRoot,
		BootTime: tracer.BootTime,
		CPUTime:  cpuTime,
		Now:      time.Now,
		Ready:    in.Ready,
	}
	for k := range finding.KindCount {
		cfg.Threshold[k] = in.Config.Threshold(k)
	}
	return cfg
}

// cpuTime is what this process has used of all CPUs.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0 // cannot be: the clock and the address are right
	}
	return time.Duration(ts.Nano())
}

const procRoot = "/proc"

// bootID is random at each boot of the kernel, and so different on every host.
func bootID() string {
	id, err := os.ReadFile(procRoot + "/sys/kernel/random/boot_id")
	if err != nil {
		// Without it ids are still unique on this host.
		id = []byte(hostName())
	}
	return strings.TrimSpace(string(id))
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// jsonWanted reports whether the configured output is JSON.
func jsonWanted(c *config.Run) bool { return c.Output == config.OutputJSON }

// kernelError adds what to do about programs that the kernel refused.
func kernelError(err error) error {
	return fmt.Errorf("%w; `tcplimbo check` tells what this kernel allows", err)
}
