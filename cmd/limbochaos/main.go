// Command limbochaos holds tcplimbo to its promises while things go wrong: it makes
// stuck sockets, keeps a log of what was stuck from when to when, does a fault to
// the agent or to the machine, and compares what the agent said with that log. What
// it must find is 0 missed, 0 doubled, 0 false and 0 wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

func main() {
	workload.RunChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	app := &cli.App{
		Name:  "limbochaos",
		Usage: "break tcplimbo's surroundings and compare what it says with what was",
		Description: `Each round has one fault, a load of stuck and healthy sockets in network
namespaces of its own, and one or more runs of the agent. Exit code: 0 nothing
missed, doubled, false or wrong; 1 something was, or a round could not be made.

EXAMPLES
   limbochaos --tcplimbo bin/tcplimbo
   limbochaos --tcplimbo bin/tcplimbo --time 10m --seed 7
   limbochaos --tcplimbo bin/tcplimbo --fault kill --fault ring
   limbochaos --tcplimbo bin/tcplimbo --fault none --loading 1h    # does it grow?`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "tcplimbo", Value: "bin/tcplimbo", Usage: "the `BINARY` under test"},
			&cli.DurationFlag{Name: "time", Usage: "go on with rounds for so long; 0 is each fault once"},
			&cli.DurationFlag{Name: "loading", Value: loading, Usage: "how long each round makes sockets; an hour of --fault none is a soak"},
			&cli.Uint64Flag{Name: "seed", Usage: "what the load and the faults are drawn from; 0 takes one and prints it"},
			&cli.StringSliceFlag{Name: "fault", Usage: "only this `FAULT`, repeatable: " + names()},
			&cli.StringFlag{Name: "keep", Usage: "keep the logs of all rounds in this `DIR`; those of failed rounds are kept anyway"},
		},
		Action:         chaos,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "limbochaos: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func names() string {
	var all []string
	for _, t := range troubles() {
		all = append(all, t.name)
	}
	return strings.Join(all, ", ")
}

// chosen are the faults that the flags name, or all that harm nobody else.
func chosen(c *cli.Context) ([]*trouble, error) {
	var list []*trouble
	for _, name := range c.StringSlice("fault") {
		t, err := byName(name)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if list != nil {
		return list, nil
	}
	for _, t := range troubles() {
		if !t.own {
			list = append(list, t)
		}
	}
	return list, nil
}

// suite is all rounds.
type suite struct {
	out    io.Writer
	binary string
	seed   uint64
	load   time.Duration
	keep   string
	tmp    string
	total  verdict
	rounds int
	failed []string
}

func chaos(c *cli.Context) error {
	list, err := chosen(c)
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(c.String("tcplimbo"))
	if err != nil {
		return fmt.Errorf("finding the binary: %w", err)
	}
	if _, err := workload.RaiseFileLimit(1 << 16); err != nil {
		return err
	}
	s := &suite{out: c.App.Writer, binary: binary, seed: c.Uint64("seed"), load: c.Duration("loading"), keep: c.String("keep")}
	for s.seed == 0 {
		s.seed = rand.Uint64N(1 << 32)
	}
	if s.tmp, err = os.MkdirTemp("", "limbochaos-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	fmt.Fprintf(s.out, "seed %d\n", s.seed)
	begin := time.Now()
	for done := false; !done; done = time.Since(begin) >= c.Duration("time") {
		for _, t := range list {
			if err := s.round(c.Context, t); err != nil {
				return err
			}
			if limit := c.Duration("time"); limit > 0 && time.Since(begin) >= limit {
				break
			}
		}
	}
	return s.end(time.Since(begin))
}

// round makes one round and prints a line about it.
func (s *suite) round(ctx context.Context, t *trouble) error {
	s.rounds++
	seed := s.seed + uint64(s.rounds)
	dir := filepath.Join(s.tmp, fmt.Sprintf("%03d-%s", s.rounds, t.name))
	if s.keep != "" {
		dir = filepath.Join(s.keep, filepath.Base(dir))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a folder for the round: %w", err)
	}
	r := &round{fault: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1<<32)), dir: dir, binary: s.binary, loading: s.load}
	res, err := r.run(ctx)
	if err != nil {
		return fmt.Errorf("round %d, %s: %w", s.rounds, t.name, err)
	}
	word := "ok"
	if !res.ok() {
		word = "FAILED, see " + dir
		s.failed = append(s.failed, dir)
	}
	notes := append(res.notes, fmt.Sprintf("%d lost", res.Lost), fmt.Sprintf("stalls up to %s", res.stall.Round(time.Millisecond)))
	fmt.Fprintf(s.out, "%-12s %4d stuck, %4d due, %4d told; missed %d, doubled %d, false %d, wrong %d  %s  (%s)\n", t.name,
		res.Lives, res.Due, res.Told, res.count(missed), res.count(doubled), res.count(untrue), res.count(wrong), word, strings.Join(notes, ", "))
	for _, p := range res.problems {
		fmt.Fprintf(s.out, "    %s\n", lastLine(p))
	}
	const shown = 5
	for i, complaint := range res.complaints {
		if i == shown {
			fmt.Fprintf(s.out, "    and %d more\n", len(res.complaints)-shown)
			break
		}
		fmt.Fprintf(s.out, "    %s: %s\n", complaint.fault, strings.TrimSpace(complaint.what))
	}
	s.total.Lives += res.Lives
	s.total.Due += res.Due
	s.total.Told += res.Told
	s.total.complaints = append(s.total.complaints, res.complaints...)
	if res.ok() && s.keep == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

// lastLine returns the end of what may be the agent's whole standard error.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func (s *suite) end(took time.Duration) error {
	t := &s.total
	fmt.Fprintf(s.out, "%d rounds in %s, seed %d: %d stuck, %d due, %d told; missed %d, doubled %d, false %d, wrong %d\n", s.rounds,
		took.Round(time.Second), s.seed, t.Lives, t.Due, t.Told, t.count(missed), t.count(doubled), t.count(untrue), t.count(wrong))
	if len(s.failed) > 0 {
		return fmt.Errorf("%d of %d rounds failed; their logs: %s", len(s.failed), s.rounds, strings.Join(s.failed, " "))
	}
	if t.Due == 0 {
		return errors.New("nothing was due in any round: this proves nothing")
	}
	return os.RemoveAll(s.tmp)
}
