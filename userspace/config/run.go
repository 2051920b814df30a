// Package config holds the configuration of `tcplimbo run`: what can be set,
// from where, and what is allowed. The same table feeds the command line, the
// environment, the YAML file, the help and the manual page.
package config

import (
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// Output is what the daemon writes to standard output.
type Output string

// The forms of output.
const (
	OutputJSON    Output = "json"
	OutputConsole Output = "console"
	OutputNone    Output = "none"
)

// KernelSource is what tells of sockets.
type KernelSource string

// The kernel sides.
const (
	SourceAuto     KernelSource = "auto"
	SourceEBPF     KernelSource = "ebpf"
	SourceSockDiag KernelSource = "sockdiag"
)

// Sources are the values of --source.
func Sources() []string {
	return []string{string(SourceAuto), string(SourceEBPF), string(SourceSockDiag)}
}

// The values of Runtime that are no path.
const (
	RuntimeAuto = "auto"
	RuntimeOff  = "off"
)

// Source is where a value came from; a later one wins over an earlier one.
type Source uint8

// The sources of a value.
const (
	FromDefault Source = iota
	FromFile
	FromEnv
	FromFlag
)

// Run is the configuration of the daemon.
type Run struct {
	// The thresholds; 0 turns the kind off.
	SynSent, FinWait2, CloseWait, Established, Closing time.Duration

	// IdleAudit is after how long without keepalive an idle connection is
	// listed, 0 for never.
	IdleAudit time.Duration

	// WarnPending is in bytes; these three are limits of what waits to be
	// acknowledged, 0 for none.
	WarnPending                 int64
	WarnUndrained, WarnFlushP99 time.Duration

	Output Output
	// GroupAbove is how many findings alike are reported one by one; 0: all.
	GroupAbove int
	// By is what the open findings are counted by at the end, "" for no counting.
	By string
	// LogFile is the file that gets a copy of the JSON lines, "" for none.
	LogFile string
	// LogFileMaxSize is the size in bytes at which LogFile is rotated, 0 for
	// never.
	LogFileMaxSize int64
	// Runtime is the container runtime that is asked for names: RuntimeAuto,
	// RuntimeOff, or the path of a CRI socket.
	Runtime string
	// Journald: records also go to the host's journal.
	Journald bool
	// OTLPEndpoint is a collector's URL or HOST:PORT, "" for what the
	// OTEL variables say.
	OTLPEndpoint string
	// MetricsAddr is host:port, "" for no server.
	MetricsAddr string
	// ConfigFile is the YAML file that was read, "" for none.
	ConfigFile string
	// Kernel is what tells of sockets.
	Kernel KernelSource
	// PinPath is where state is kept across restarts, "" for nowhere.
	PinPath string
	// Tick is as configured; EffectiveTick is what to use.
	Tick time.Duration
	// ReadyFile is touched once the daemon is ready, "" for none.
	ReadyFile string
	// Duration is after how long to stop, 0 for never.
	Duration time.Duration

	// Stacks is which user stacks are taken.
	Stacks flow.StackMode

	// Pprof says whether Go programs are asked for their goroutines,
	// PprofAddress where, if at one address only; CaptureDir is the folder for
	// their answers, "" for none.
	Pprof        PprofMode
	PprofAddress netip.AddrPort
	CaptureDir   string

	// RingBytes is the size of the kernel's ring buffer, MaxPromoted how many
	// sockets the old generation holds and YoungSlots how many each CPU's young
	// ring does; 0 leaves it to the tracer. The first and the last are powers
	// of two.
	RingBytes, MaxPromoted, YoungSlots int

	// Sandbox: what is not needed any more is given up after the start.
	Sandbox bool

	// Rules say what holds for some sockets; their base is the thresholds above.
	Rules rules.Set

	// watched are the kinds that were turned on when the program started.
	watched [finding.KindCount]bool

	sources map[string]Source
	// texts are the values as they were written, by setting.
	texts map[string]string
}

// minTick keeps the kernel-side pass below one per cent of a core: an idle
// pass costs some microseconds a CPU, a full one about a millisecond.
const minTick = 10 * time.Millisecond

// EffectiveTick is how often to look at due sockets. A socket is promoted one
// to two ticks after it entered its state, so a tick above half of the smallest
// threshold would make that threshold's findings late.
func (r *Run) EffectiveTick() time.Duration {
	tick := r.Tick
	for _, threshold := range r.Rules.Least() {
		if threshold > 0 {
			tick = min(tick, threshold/2)
		}
	}
	return max(tick, minTick)
}

// Source returns where the value of a setting came from.
func (r *Run) Source(name string) Source { return r.sources[name] }

// Kinds returns the kinds that are turned on, by a setting or by a rule, in the order
// of finding.Kind.
func (r *Run) Kinds() []finding.Kind {
	var kinds []finding.Kind
	for k, threshold := range r.Rules.Least() {
		if threshold > 0 {
			kinds = append(kinds, finding.Kind(k))
		}
	}
	return kinds
}

func (r *Run) thresholds() rules.Thresholds {
	return rules.Thresholds{
		finding.SynSentStalled:     r.SynSent,
		finding.FinWait2Dangling:   r.FinWait2,
		finding.CloseWaitSilent:    r.CloseWait,
		finding.EstablishedStalled: r.Established,
		finding.ClosingStalled:     r.Closing,
	}
}
