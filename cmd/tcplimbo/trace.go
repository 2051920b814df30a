package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// traceInput is what `trace` was asked for. Zero values select everything.
type traceInput struct {
	Stdout   io.Writer
	Terminal terminal
	Log      zerolog.Logger
	JSON     bool

	// State is the left or the entered state; all three must fit.
	State, Old, New flow.StateSet
	PID             uint32
	// Port is either port.
	Port, LocalPort, PeerPort uint16
	// Net holds the local or the peer address.
	Net netip.Prefix
	// IPv4Only and IPv6Only are never both set.
	IPv4Only, IPv6Only bool
	// RetransmitsOnly and NoRetransmits are never both set.
	RetransmitsOnly, NoRetransmits bool
}

func (w *world) traceCommand() *command {
	return &command{
		name: "trace", usage: "stream every state transition and retransmission",
		description: "It shows what bcc's tcpstates shows, for all network namespaces, until SIGINT. All filters must fit. " +
			"A retransmission is RETRANS(n):kind, n timeouts in a row so far. Kinds: syn; fast (ACKs tell of a loss); rto and backoff " +
			"(the first timeout and the next ones); slow_start (after a timeout, paced by ACKs); tlp (tail loss probe); " +
			"probe (the peer closed its window over data in flight).",
		flags: []flagSpec{
			{
				name: "output", short: "o", placeholder: "FORM", def: formColumns, values: []string{formColumns, formJSON},
				usage: "columns or json (one object per line)",
			},
			{name: "duration", placeholder: "DURATION", def: "0", usage: "stop after this long; 0 runs until SIGINT"},
			{name: "state", placeholder: "STATE", repeat: true, values: stateWords(), group: "Filters", usage: "the old or the new state; may be repeated"},
			{name: "old-state", placeholder: "STATE", repeat: true, values: stateWords(), group: "Filters", usage: "the state that was left; may be repeated"},
			{name: "new-state", placeholder: "STATE", repeat: true, values: stateWords(), group: "Filters", usage: "the state that was entered; may be repeated"},
			{name: "pid", placeholder: "PID", group: "Filters", usage: "transitions in the context of this process (its connects and closes)"},
			{name: "port", placeholder: "PORT", group: "Filters", usage: "the local or the peer port"},
			{name: "local-port", placeholder: "PORT", group: "Filters", usage: "the local port"},
			{name: "peer-port", placeholder: "PORT", group: "Filters", usage: "the peer port"},
			{name: "cidr", placeholder: "NETWORK", group: "Filters", usage: "the network of the local or the peer address, such as 10.0.0.0/8"},
			{name: "ipv4", short: "4", group: "Filters", usage: "IPv4 only, IPv4-mapped addresses included"},
			{name: "ipv6", short: "6", group: "Filters", usage: "IPv6 only"},
			{name: "retransmits-only", group: "Filters", usage: "retransmissions and no transitions"},
			{name: "no-retransmits", group: "Filters", usage: "transitions and no retransmissions"},
		},
		legend: traceLegend,
		examples: []example{
			{"sudo tcplimbo trace", "everything"},
			{"sudo tcplimbo trace --new-state close_wait --local-port 443", "peers that close first"},
			{"sudo tcplimbo trace --retransmits-only --cidr 10.0.0.0/8", "which connections lose segments"},
			{"sudo tcplimbo trace -o json --duration 10s > states.json", "for a script"},
		},
		run: w.trace,
	}
}

// traceLegend explains the columns; a test compares it with their heads.
var traceLegend = []legendEntry{
	{"SKADDR", "the socket's address in the kernel: the same in all lines of one life"},
	{"C-PID, C-COMM", "who made the transition, where the kernel was in its context (connect, close); - else"},
	{"IP", "4 or 6, with -6 only"},
	{"LADDR, LPORT", "the local end"},
	{"RADDR, RPORT", "the peer"},
	{"OLDSTATE, NEWSTATE", "the states; RETRANS(n) is a retransmission, the n-th timeout in a row"},
	{"MS", "milliseconds in the old state; - where its beginning was not seen"},
}

func (w *world) trace(c *cli.Context) error {
	in, err := parseTrace(c)
	if err != nil {
		return err
	}
	limit, err := duration(c, "duration", "0 (no end) or more, such as 10s")
	if err != nil {
		return err
	}
	if err := w.host.Preflight(); err != nil {
		return fmt.Errorf("trace needs eBPF: %w", err)
	}
	in.Stdout, in.Terminal = c.App.Writer, w.stdoutTerminal
	in.Log = newLogger(w.stderr, w.stderrTerminal)
	ctx, stop := untilSignal(c.Context, limit)
	defer stop()
	return ended(ctx, w.traceSockets(ctx, in))
}

// untilSignal returns a context that ends with SIGINT, SIGTERM or after limit
// (0: no limit). The second signal ends the process at once.
func untilSignal(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stopSignals := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stopSignals)
	if limit <= 0 {
		return ctx, stopSignals
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() { cancel(); stopSignals() }
}

func parseTrace(c *cli.Context) (*traceInput, error) {
	in := &traceInput{RetransmitsOnly: c.Bool("retransmits-only"), NoRetransmits: c.Bool("no-retransmits")}
	if in.RetransmitsOnly && in.NoRetransmits {
		return nil, usageError("--retransmits-only and --no-retransmits leave nothing to show; give one of them")
	}
	form, err := oneOf(c, "output", formColumns, formJSON)
	if err != nil {
		return nil, err
	}
	in.JSON = form == formJSON
	if err := in.parseStates(c); err != nil {
		return nil, err
	}
	if err := in.parsePorts(c); err != nil {
		return nil, err
	}
	if in.PID, err = pid(c); err != nil {
		return nil, err
	}
	if in.Net, err = prefix(c, "cidr"); err != nil {
		return nil, err
	}
	return in, in.setFamily(c.Bool("ipv4"), c.Bool("ipv6"))
}

func (in *traceInput) parseStates(c *cli.Context) (err error) {
	if in.State, err = states(c, "state"); err != nil {
		return err
	}
	if in.Old, err = states(c, "old-state"); err != nil {
		return err
	}
	in.New, err = states(c, "new-state")
	return err
}

func (in *traceInput) parsePorts(c *cli.Context) (err error) {
	if in.Port, err = port(c, "port"); err != nil {
		return err
	}
	if in.LocalPort, err = port(c, "local-port"); err != nil {
		return err
	}
	in.PeerPort, err = port(c, "peer-port")
	return err
}

// setFamily takes -4 and -6; both together select what neither does: all.
func (in *traceInput) setFamily(ipv4, ipv6 bool) error {
	in.IPv4Only, in.IPv6Only = ipv4 && !ipv6, ipv6 && !ipv4
	if !in.Net.IsValid() {
		return nil
	}
	if in.IPv4Only && in.Net.Addr().Is6() || in.IPv6Only && in.Net.Addr().Is4() {
		return usageError("--cidr: %q is of the other IP version than the one asked for; leave out -4 or -6", in.Net)
	}
	return nil
}
