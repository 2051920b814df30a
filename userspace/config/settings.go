package config

import (
	"slices"
	"strings"
)

// Setting is one thing that can be configured.
type Setting struct {
	// Name is the flag without dashes and the key in the file.
	Name string
	// Short is the one-letter flag, "" for none.
	Short string
	// Placeholder names the value in the help: DURATION, FILE.
	Placeholder string
	// Default is the value as one would write it.
	Default string
	// Usage is one sentence for the help.
	Usage string
	// Group is the heading it stands under in the help.
	Group string
	// Values are all possible values, if they can be listed.
	Values []string
	// File is set where the value is a path.
	File bool
	// Live settings can change while the program runs.
	Live bool
	// Hidden settings tune the inside; they are not in the help.
	Hidden bool

	set func(*Run, string) error
}

// Env is the environment variable of the setting.
func (s *Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// The headings of the help.
const (
	groupThresholds = "What is flagged (0 turns the kind off)"
	groupQueues     = "What is warned about (0 turns the warning off)"
	groupOutput     = "Where it goes"
	groupRunning    = "How it runs"
	groupTuning     = "Tuning"
)

// The values of settings that are on or off.
const (
	switchOn  = "on"
	switchOff = "off"
)

var switches = []string{switchOn, switchOff}

// summaries are what open findings can be counted by.
var summaries = []string{"process", "peer", "stack", "pod"}

// configName is the one setting that cannot stand in the file.
const configName = "config"

// MetricsAddr is the name of the setting whose default may fail to bind.
const MetricsAddr = "metrics-addr"

// SourceName is the name of the setting that chooses the kernel side.
const SourceName = "source"

// Settings returns all settings in the order of the help.
func Settings() []Setting {
	return slices.Concat(thresholdSettings(), queueSettings(), outputSettings(), runningSettings(), pprofSettings(), tuningSettings())
}

func thresholdSettings() []Setting {
	return []Setting{
		{
			Name: "syn-sent", Placeholder: "DURATION", Default: "3s", Group: groupThresholds,
			Usage: "flag a socket this long in SYN_SENT: a connect that nobody answers",
			set:   func(r *Run, v string) error { return setDuration(&r.SynSent, v, thresholdRange) }, Live: true,
		},
		{
			Name: "fin-wait2", Placeholder: "DURATION", Default: "30s", Group: groupThresholds,
			Usage: "flag a socket this long in FIN_WAIT2, orphaned ones included: the peer does not finish",
			set:   func(r *Run, v string) error { return setDuration(&r.FinWait2, v, thresholdRange) }, Live: true,
		},
		{
			Name: "close-wait", Placeholder: "DURATION", Default: "30s", Group: groupThresholds,
			Usage: "flag a socket this long in CLOSE_WAIT: the peer closed, the program did not",
			set:   func(r *Run, v string) error { return setDuration(&r.CloseWait, v, thresholdRange) }, Live: true,
		},
		{
			Name: "established", Placeholder: "DURATION", Default: "15s", Group: groupThresholds,
			Usage: "flag an ESTABLISHED socket whose data has not moved for this long",
			set:   func(r *Run, v string) error { return setDuration(&r.Established, v, thresholdRange) }, Live: true,
		},
		{
			Name: "closing", Placeholder: "DURATION", Default: "60s", Group: groupThresholds,
			Usage: "flag a socket this long in FIN_WAIT1, CLOSING or LAST_ACK: the close is not acknowledged",
			set:   func(r *Run, v string) error { return setDuration(&r.Closing, v, thresholdRange) }, Live: true,
		},
		{
			Name: "idle-audit", Placeholder: "DURATION", Default: "0", Group: groupThresholds,
			Usage: "list ESTABLISHED sockets without keepalive that are idle longer than this, as tcplimbo.socket",
			set:   func(r *Run, v string) error { return setDuration(&r.IdleAudit, v, thresholdRange) }, Live: true,
		},
	}
}

func outputSettings() []Setting {
	forms := []string{string(OutputJSON), string(OutputConsole), string(OutputNone)}
	return []Setting{
		{
			Name: "output", Short: "o", Placeholder: "FORM", Default: string(OutputJSON), Group: groupOutput, Values: forms,
			Usage: "standard output: json (one object per line), console (for people) or none",
			set: func(r *Run, v string) error {
				if !slices.Contains(forms, v) {
					return notOneOf(v, forms)
				}
				r.Output = Output(v)
				return nil
			},
		},
		{
			Name: "group-above", Placeholder: "N", Default: "20", Group: groupOutput,
			Usage: "report more findings alike than this as one group: the same kind, program, container, service and stack; 0 reports each",
			set:   func(r *Run, v string) error { return setNumber(&r.GroupAbove, v, maxGroupAbove) },
		},
		{
			Name: "by", Placeholder: "WHAT", Group: groupOutput, Values: summaries,
			Usage: "at the end, count what is still open by process, peer, stack or pod; with --output console",
			set: func(r *Run, v string) error {
				if v != "" && !slices.Contains(summaries, v) {
					return notOneOf(v, summaries)
				}
				r.By = v
				return nil
			},
		},
		{
			Name: "log-file", Placeholder: "FILE", Group: groupOutput, File: true,
			Usage: "also append JSON lines to this file; reopened on SIGUSR1",
			set:   func(r *Run, v string) error { return setPath(&r.LogFile, v) },
		},
		{
			Name: "log-file-max-size", Placeholder: "SIZE", Default: "100MiB", Group: groupOutput,
			Usage: "rotate the log file at this size; 0 never rotates",
			set:   func(r *Run, v string) error { return setSize(&r.LogFileMaxSize, v) },
		},
		{
			Name: "journald", Placeholder: "WHETHER", Default: "off", Group: groupOutput, Values: onOff,
			Usage: "also write to the systemd journal, with a field for each key: on or off",
			set:   func(r *Run, v string) error { return setSwitch(&r.Journald, v) },
		},
		{
			Name: "otlp-endpoint", Placeholder: "URL", Group: groupOutput,
			Usage: "also send findings as OTLP logs and metrics to this collector; OTEL_EXPORTER_OTLP_* say how",
			set:   func(r *Run, v string) error { return setEndpoint(&r.OTLPEndpoint, v) },
		},
		{
			Name: MetricsAddr, Placeholder: "ADDRESS", Default: "127.0.0.1:9890", Group: groupOutput,
			Usage: "serve /metrics, /healthz, /readyz and the status page here; '' turns it off",
			set:   func(r *Run, v string) error { return setAddress(&r.MetricsAddr, v) },
		},
	}
}

func runningSettings() []Setting {
	return []Setting{
		{
			Name: configName, Placeholder: "FILE", Group: groupRunning, File: true,
			Usage: "YAML file with these settings under the same names; an unknown key is an error",
			set:   func(r *Run, v string) error { return setPath(&r.ConfigFile, v) },
		},
		{
			Name: SourceName, Placeholder: "SOURCE", Default: string(SourceAuto), Group: groupRunning, Values: Sources(),
			Usage: "ebpf, sockdiag (netlink polling, without BPF), or auto: ebpf if it loads, else sockdiag with a warning",
			set: func(r *Run, v string) error {
				if !slices.Contains(Sources(), v) {
					return notOneOf(v, Sources())
				}
				r.Kernel = KernelSource(v)
				return nil
			},
		},
		{
			Name: "pin-path", Placeholder: "DIR", Group: groupRunning, File: true,
			Usage: "keep findings across restarts in this directory of a BPF file system, such as /sys/fs/bpf/tcplimbo",
			set:   func(r *Run, v string) error { return setPath(&r.PinPath, v) },
		},
		{
			Name: "cri-socket", Placeholder: "SOCKET", Default: RuntimeAuto, Group: groupRunning, File: true,
			Usage: "ask the container runtime that listens here for the names of pods; auto looks where containerd, CRI-O, Docker and Podman usually listen, off asks none",
			set:   func(r *Run, v string) error { return setRuntime(&r.Runtime, v) },
		},
		{
			Name: "tick", Placeholder: "DURATION", Default: "250ms", Group: groupRunning,
			Usage: "how often due sockets are looked at; lowered to half of the smallest threshold",
			set:   func(r *Run, v string) error { return setDuration(&r.Tick, v, tickRange) }, Live: true,
		},
		stacksSetting(),
		{
			Name: "ready-file", Placeholder: "FILE", Group: groupRunning, File: true,
			Usage: "touch this file once programs are attached and the first snapshot is done; an empty one is removed at the start",
			set:   func(r *Run, v string) error { return setPath(&r.ReadyFile, v) },
		},
		{
			Name: "duration", Placeholder: "DURATION", Default: "0", Group: groupRunning,
			Usage: "stop after this long; 0 runs until SIGINT or SIGTERM",
			set:   func(r *Run, v string) error { return setDuration(&r.Duration, v, durationRange) },
		},
	}
}

func tuningSettings() []Setting {
	return []Setting{
		{
			Name: "sandbox", Placeholder: "SWITCH", Default: switchOn, Group: groupTuning, Hidden: true, Values: switches,
			Usage: "give up capabilities and system calls that are not needed once the programs are attached: on or off",
			set: func(r *Run, v string) error {
				if !slices.Contains(switches, v) {
					return notOneOf(v, switches)
				}
				r.Sandbox = v == switchOn
				return nil
			},
		},
		{
			Name: "ring-bytes", Placeholder: "SIZE", Default: "0", Group: groupTuning, Hidden: true,
			Usage: "size of the kernel's ring buffer, a power of two; 0 chooses",
			set: func(r *Run, v string) error {
				return setPowerOfTwo(&r.RingBytes, v, minRingBytes, maxRingBytes)
			},
		},
		{
			Name: "max-promoted", Placeholder: "N", Default: "0", Group: groupTuning, Hidden: true,
			Usage: "how many sockets the kernel's old generation holds; 0 chooses",
			set:   func(r *Run, v string) error { return setCount(&r.MaxPromoted, v, maxPromoted) },
		},
		{
			Name: "young-slots", Placeholder: "N", Default: "0", Group: groupTuning, Hidden: true,
			Usage: "how many sockets the young ring of each CPU holds, a power of two; 0 chooses",
			set: func(r *Run, v string) error {
				return setPowerOfTwo(&r.YoungSlots, v, minYoungSlots, maxYoungSlots)
			},
		},
	}
}
