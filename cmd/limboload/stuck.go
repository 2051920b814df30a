package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

const stuckHelp = `Prints one JSON line per stuck socket with what is true of it, then
{"ready":true}, and holds the sockets until standard input closes or SIGTERM
comes. A line "end" on standard input ends every socket in the way that --end
says and prints the lines again with their outcome, then {"ended":true};
"end HOW" overrides --end.

EXAMPLES
   # five forgotten sockets in IPv4 and IPv6, 100 bytes unread in each
   limboload stuck --kind close-wait-unread --count 5 --family both --payload 100

   # 1,000 of them over ten seconds
   limboload stuck --kind close-wait-ignored --count 1000 --rate 100

   # SYNs that nobody answers until "end" is typed, in a new network namespace
   limboload stuck --kind syn-sent --netns new --silent-net --end establish

   # one of everything
   limboload stuck --kind all`

func stuckCommand() *cli.Command {
	return &cli.Command{
		Name:            "stuck",
		Usage:           "make sockets that are stuck and hold them",
		Description:     stuckHelp,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "kind", Usage: "`KIND`, repeatable: all, " + workload.Join(workload.Kinds())},
			&cli.IntFlag{Name: "count", Value: 1, Usage: "`N` sockets of each kind and family"},
			&cli.StringFlag{Name: "family", Value: "4", Usage: "4, 6, mapped (IPv4 on an IPv6 socket), both (4 and 6) or all"},
			netnsFlag(),
			&cli.Float64Flag{Name: "rate", Usage: "sockets a second, 0 is as fast as possible"},
			&cli.StringFlag{Name: "peers", Value: "gone", Usage: "the other ends: gone, held (stuck too), orphaned (stuck too, for a minute)"},
			&cli.IntFlag{Name: "payload", Usage: "the peers of the close-wait kinds send so many `BYTES` before their end of file (close-wait-drained: 1 at least)"},
			&cli.BoolFlag{Name: "accepted", Usage: "the accepting end is the stuck one"},
			&cli.BoolFlag{Name: "shutdown", Usage: "end fin-wait1, closing and last-ack with shutdown(2), which keeps the descriptor"},
			&cli.BoolFlag{Name: "silent-net", Usage: "send SYNs into a network of its own instead of to a deaf listener"},
			&cli.IntFlag{Name: "syn-retries", Usage: "TCP_SYNCNT of syn-sent"},
			&cli.IntFlag{Name: "orphan-seconds", Usage: "TCP_LINGER2 of fin-wait2-orphaned"},
			&cli.StringFlag{Name: "end", Usage: "how \"end\" ends them: close, reset, establish, refuse, timeout, cancel, unreachable, finish, destroy; default by kind"},
		},
		Action: stuck,
	}
}

// stuckLoad is everything that one run of the command made.
type stuckLoad struct {
	ns   *workload.Namespace
	lab  *workload.Lab
	sets []*workload.Set
	out  *json.Encoder
}

func stuck(c *cli.Context) (err error) {
	specs, err := specsOf(c)
	if err != nil {
		return usageError{err}
	}
	if _, err := workload.RaiseFileLimit(1 << 20); err != nil {
		return err
	}
	l := &stuckLoad{out: json.NewEncoder(c.App.Writer)}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.place(c); err != nil {
		return err
	}
	for _, spec := range specs {
		if err := l.make(spec); err != nil {
			return err
		}
	}
	if err := l.out.Encode(map[string]bool{"ready": true}); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return l.obey(c.Context, c.App.Reader, workload.End(c.String("end")))
}

// specsOf turns the flags into one Spec per kind and family.
func specsOf(c *cli.Context) ([]workload.Spec, error) {
	kinds := c.StringSlice("kind")
	if len(kinds) == 0 {
		return nil, fmt.Errorf("--kind is missing, want one or more of %s, or all", workload.Join(workload.Kinds()))
	}
	if len(kinds) == 1 && kinds[0] == "all" {
		kinds = strings.Split(workload.Join(workload.Kinds()), ", ")
	}
	families := map[string][]workload.Family{
		"4": {workload.IPv4}, "6": {workload.IPv6}, "mapped": {workload.IPv4Mapped},
		"both": {workload.IPv4, workload.IPv6}, "all": workload.Families(),
	}[c.String("family")]
	if families == nil {
		return nil, fmt.Errorf("unknown --family %q, want 4, 6, mapped, both or all", c.String("family"))
	}
	var specs []workload.Spec
	for _, k := range kinds {
		for _, f := range families {
			spec := workload.Spec{
				Kind: workload.Kind(k), Family: f, Count: c.Int("count"), Rate: c.Float64("rate"),
				Peers: workload.Peers(c.String("peers")), Payload: c.Int("payload"),
				Accepted: c.Bool("accepted"), Shutdown: c.Bool("shutdown"),
				SynRetries: c.Int("syn-retries"), OrphanSeconds: c.Int("orphan-seconds"),
			}
			if err := spec.Validate(); err != nil {
				return nil, err
			}
			specs = append(specs, spec)
		}
	}
	return specs, nil
}

// place opens the namespace and the silent network.
func (l *stuckLoad) place(c *cli.Context) (err error) {
	l.ns, err = openNetns(c)
	if err == nil && c.Bool("silent-net") {
		l.lab, err = workload.NewLab(l.ns)
	}
	return err
}

func (l *stuckLoad) make(spec workload.Spec) error {
	spec.NS = l.ns
	if spec.Kind == workload.SynSent {
		spec.Lab = l.lab
	}
	set, err := workload.Make(spec)
	if err != nil {
		return err
	}
	l.sets = append(l.sets, set)
	return l.print(set)
}

func (l *stuckLoad) print(set *workload.Set) error {
	for _, t := range set.Truths() {
		if err := l.out.Encode(t); err != nil {
			return fmt.Errorf("writing to standard output: %w", err)
		}
	}
	return nil
}

// obey waits for the command to end, the end of input or of ctx.
func (l *stuckLoad) obey(ctx context.Context, in io.Reader, how workload.End) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
			if verb != "end" {
				return fmt.Errorf("unknown command %q on standard input, want end", line)
			}
			if arg != "" {
				how = workload.End(arg)
			}
			if err := l.end(how); err != nil {
				return err
			}
		}
	}
}

func (l *stuckLoad) end(how workload.End) error {
	for _, set := range l.sets {
		if err := set.End(how); err != nil {
			return err
		}
		if err := l.print(set); err != nil {
			return err
		}
	}
	if err := l.out.Encode(map[string]bool{"ended": true}); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

func (l *stuckLoad) close() error {
	var errs []error
	for _, set := range l.sets {
		errs = append(errs, set.Close())
	}
	if l.lab != nil {
		errs = append(errs, l.lab.Close())
	}
	return errors.Join(append(errs, l.ns.Close())...)
}
