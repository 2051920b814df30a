package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/group"
	"github.com/tcplimbo/tcplimbo/userspace/stack"
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
	if cfg.Goroutines, err = goroutinesOf(in); err != nil {
		return err
	}
	out, err := openRecords(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	watched := cfg.Rules.Least()
	kernel, polled, err := in.Source.open(tracer.Options{
		Watch:       agent.States(watched),
		Established: watched[finding.EstablishedStalled] > 0,
		RingBytes:   uint32(in.Config.RingBytes),
		MaxPromoted: uint32(in.Config.MaxPromoted),
		YoungSlots:  uint32(in.Config.YoungSlots),
		Stacks:      in.Config.Stacks,
	}, &in.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	in.Polled, cfg.Polled = polled, polled
	release = keepState(in, &cfg)
	cfg.Stacks = stacksOf(kernel, in)
	cfg.Ready = readyThenLate(kernel, in)
	origins := startOrigins(out.ctx, in.Config.Runtime, in.Log)
	defer origins.wait()
	cfg.Origin = origins
	grouped := newGrouper(in.Config, cfg.BootTime, out)
	a := agent.New(cfg, kernel, grouped, in.Metrics, in.Log)
	if err := a.Run(out.ctx); err != nil {
		return err
	}
	if by := in.Config.By; by != "" {
		out.summary(grouped.Summary(group.By(by), cfg.BootTime()), by)
	}
	return nil
}

// newGrouper returns what groups findings, or only counts them for the summary.
func newGrouper(cfg *config.Run, clock func() time.Duration, out group.Output) *group.Grouper {
	above := cfg.GroupAbove
	if above == 0 && cfg.By != "" {
		above = math.MaxInt32
	}
	return group.New(above, clock, out)
}

// stacksOf joins what takes stacks and what names functions; nil where none are
// taken, as without eBPF.
func stacksOf(kernel kernelSide, in *agentInput) *agent.Stacks {
	taker, ok := kernel.(*tracer.Tracer)
	if !ok || in.Config.Stacks == flow.StacksOff {
		return nil
	}
	connects, accepts, _ := taker.StackHooks()
	if connects != nil {
		in.Log.Warn().Err(connects).Msg("findings have no stacks; `tcplimbo check` tells more")
		return nil
	}
	if accepts != nil {
		in.Log.Warn().Err(accepts).Msg("accepted connections have no stacks; `tcplimbo check` tells what to do")
	}
	return &agent.Stacks{Source: taker, Symbols: stack.New(procRoot), NoAccepts: accepts != nil}
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
	return agent.Config{
		Settings: agentSettings(in.Config),
		Reload:   in.Reload,
		Queues: writequeue.Limits{
			Pending: uint64(in.Config.WarnPending), Undrained: in.Config.WarnUndrained, Flush: in.Config.WarnFlushP99,
		},
		BootID:   bootID(),
		ProcRoot: procRoot,
		BootTime: tracer.BootTime,
		Ticker:   newTicker,
		CPUTime:  cpuTime,
		Now:      time.Now,
		Ready:    in.Ready,
		Beat:     in.State.Beat,
		// The runtime keeps what a start or a storm took for minutes. Beside the loop,
		// because it collects garbage before it returns.
		Calm: func() { go debug.FreeOSMemory() },
	}
}

// agentSettings are those of the configuration that can change at run time.
func agentSettings(c *config.Run) agent.Settings {
	return agent.Settings{Rules: c.Rules, Tick: c.EffectiveTick(), IdleAudit: c.IdleAudit}
}

// cpuTime is what this process has used of all CPUs. Raw, as tracer.BootTime is.
func cpuTime() time.Duration {
	var ts unix.Timespec
	// Cannot fail: the clock and the address are right.
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_PROCESS_CPUTIME_ID, uintptr(unsafe.Pointer(&ts)), 0)
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
