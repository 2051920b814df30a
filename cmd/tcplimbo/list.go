package main

import (
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/group"
)

// listInput is what `list` was asked for. Zero values select everything.
type listInput struct {
	Stdout   io.Writer
	Terminal terminal

	Source sourceChoice
	Log    *zerolog.Logger

	JSON bool
	// Wide shows everything, however long the lines get.
	Wide     bool
	NoHeader bool

	// All is set for every TCP socket, healthy ones included.
	All    bool
	States flow.StateSet
	// OlderThan is how long a socket must have been in its state.
	OlderThan time.Duration
	PID       uint32
	// NetNS is the inode number of a network namespace.
	NetNS uint32
	// Port is a local or peer port.
	Port uint16
	// By is what to count the sockets by, "" to list them.
	By group.By
	// Runtime is as config.Run's.
	Runtime string
}

func (w *world) listCommand() *command {
	return &command{
		name: "list", usage: "list every socket in limbo right now, with age and owner",
		description: "It needs no daemon and also finds sockets that are older than itself, in all network namespaces, " +
			"oldest first.",
		flags: []flagSpec{
			{
				name: "output", short: "o", placeholder: "FORM", def: formTable, values: []string{formTable, formJSON},
				usage: "table or json (one object per line)",
			},
			{
				name: "state", placeholder: "STATE", repeat: true, values: stateWords(),
				usage: "only sockets in this state, such as close_wait or CLOSE-WAIT; may be repeated",
			},
			{name: "older-than", placeholder: "DURATION", usage: "only sockets at least this long in their state"},
			{name: "pid", placeholder: "PID", usage: "only sockets that this process holds"},
			{
				name: "netns", placeholder: "NETNS",
				usage: "only this network namespace: its inode number, its name in /run/netns, or a path",
			},
			{name: "port", placeholder: "PORT", usage: "only sockets with this local or peer port"},
			{
				name: config.SourceName, placeholder: "SOURCE", def: string(config.SourceAuto), values: config.Sources(),
				usage: "ebpf, sockdiag (netlink, without BPF), or auto: ebpf if it loads, else sockdiag with a warning",
			},
			{
				name: "by", placeholder: "WHAT", values: byWords(group.ByProcess, group.ByPeer, group.ByStack, group.ByPod),
				usage: "count them by process, peer (the service's end), stack (which code opened them, if a daemon that " +
					"takes stacks runs: only it has seen that) or pod instead of listing them",
			},
			{
				name: "cri-socket", placeholder: "SOCKET", def: config.RuntimeAuto, file: true,
				usage: "ask the container runtime that listens here for the names of pods; auto looks where they usually listen, off asks none",
			},
			{name: "all", short: "a", usage: "every TCP socket, not only those in limbo"},
			{name: "no-header", short: "H", usage: "leave out the table's head"},
			{name: "wide", short: "w", usage: "all columns, however long the lines get; a narrow terminal gets fewer, a very narrow one two lines a socket"},
		},
		legend: listLegend,
		examples: []example{
			{"sudo tcplimbo list", "what is stuck, oldest first"},
			{"tcplimbo list --source sockdiag", "the same without eBPF and without privileges: what this user may see"},
			{"sudo tcplimbo list --state close-wait --older-than 5m", "forgotten connections"},
			{"sudo tcplimbo list --netns /proc/4711/ns/net", "in the network namespace of a container's process"},
			{"sudo tcplimbo list --by process", "who holds how many"},
			{"sudo tcplimbo list --by stack", "which code leaks them, with `tcplimbo run` running since before they were opened"},
		},
		run: w.list,
	}
}

// listLegend explains the table; a test compares it with the table's heads.
var listLegend = []legendEntry{
	{"STATE", "as ss(8) writes it"},
	{"AGE", "how long it has been in that state; 44s+ is at least 44s: nothing proves more of a socket that is older than this command"},
	{"LOCAL, PEER", "addresses and ports"},
	{"PROCESS", "program[pid]/descriptor, and +2 where two more descriptors refer to it; (program[pid]) does not hold the socket but " +
		"listens where it waits to be accepted; - where no process holds it"},
	{"RECV-Q, SEND-Q", "bytes to be read; bytes not sent or not acknowledged. Of a listener: the accept queue and its limit"},
	{"RETR", "retransmission timeouts in a row"},
	{"ENDS", "when the kernel ends it by itself if nothing changes: never, now, or - where that is not known"},
	{"WHY", "the reason; `tcplimbo explain WORD` tells its meaning, cause and remedy"},
	{"POD", "namespace and pod, or the container where it is in none; shown where a socket is in one"},
}

func (w *world) list(c *cli.Context) error {
	in, err := parseList(c)
	if err != nil {
		return err
	}
	source, err := oneOf(c, config.SourceName, config.Sources()...)
	if err != nil {
		return err
	}
	if in.Source.Source = config.KernelSource(source); in.By == group.ByStack {
		// A daemon keeps stacks under addresses that netlink does not tell.
		if in.Source.Source == config.SourceSockDiag {
			return usageError("--by stack: needs eBPF; leave out --source sockdiag")
		}
		in.Source.Source = config.SourceEBPF
	}
	if in.Source.Blocked, err = w.preflight(in.Source.Source); err != nil {
		return err
	}
	log := newLogger(w.stderr, w.stderrTerminal)
	in.Log = &log
	in.Stdout, in.Terminal = c.App.Writer, w.stdoutTerminal
	return w.listSockets(c.Context, in)
}

func parseList(c *cli.Context) (*listInput, error) {
	in := &listInput{Wide: c.Bool("wide"), NoHeader: c.Bool("no-header"), All: c.Bool("all")}
	form, err := oneOf(c, "output", formTable, formJSON)
	if err != nil {
		return nil, err
	}
	in.JSON = form == formJSON
	if in.States, err = states(c, "state"); err != nil {
		return nil, err
	}
	if in.OlderThan, err = duration(c, "older-than", "0 or more, such as 5m"); err != nil {
		return nil, err
	}
	if in.PID, err = pid(c); err != nil {
		return nil, err
	}
	if in.NetNS, err = netNS(c); err != nil {
		return nil, err
	}
	if in.Port, err = port(c, "port"); err != nil {
		return nil, err
	}
	if c.IsSet("by") {
		by, err := oneOf(c, "by", byWords(group.ByProcess, group.ByPeer, group.ByStack, group.ByPod)...)
		if err != nil {
			return nil, err
		}
		in.By = group.By(by)
	}
	if in.Runtime, err = config.ParseRuntime(c.String("cri-socket")); err != nil {
		return nil, usageError("--cri-socket: %w", err)
	}
	return in, nil
}

func byWords(by ...group.By) []string {
	var words []string
	for _, b := range by {
		words = append(words, string(b))
	}
	return words
}
