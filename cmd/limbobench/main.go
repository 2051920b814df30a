// Command limbobench measures tcplimbo against its budgets, and other tools
// beside it: everything as ratios within one run, because times differ from
// machine to machine. It needs root and a Go toolchain, makes its own load and
// removes all that it makes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

func main() {
	rig.RunLoad()
	workload.RunChild()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are what is asked for.
type options struct {
	quick, json bool
	only        []string
	plot        string
	write       string
	patience    time.Duration
}

const usage = `Measure tcplimbo against its budgets. Needs root.

  limbobench [-quick] [-run P1,P3] [-json] [-write docs/performance.md]

`

// errUsage is an error that flag has told already.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("limbobench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		fmt.Fprintf(stderr, "\nMeasurements: %s\n", strings.Join(names(), ", "))
	}
	fs.BoolVar(&o.quick, "quick", false, "below two minutes, less exact")
	fs.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	fs.StringVar(&o.plot, "plot", "", "draw P11 as SVG into this `file`")
	fs.StringVar(&o.write, "write", "", "also update the table in this `file`")
	fs.DurationVar(&o.patience, "patience", time.Minute, "wait so long, all in all, for other processes to leave the machine alone")
	only := fs.String("run", "", "only these `measurements`, separated by commas; default all but P11")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return options{}, err
		}
		return options{}, errUsage
	}
	if fs.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q, see limbobench -help", fs.Arg(0))
	}
	for _, name := range strings.FieldsFunc(*only, func(r rune) bool { return r == ',' || r == ' ' }) {
		i := slices.IndexFunc(names(), func(n string) bool { return strings.EqualFold(n, name) })
		if i < 0 {
			return options{}, fmt.Errorf("unknown measurement %q, want some of %s", name, strings.Join(names(), ", "))
		}
		o.only = append(o.only, names()[i])
	}
	return o, nil
}

// run returns the exit code: 0 measured, budgets kept or not; 1 something
// could not be measured; 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "limbobench: %v\n", err)
		return 2
	case os.Geteuid() != 0:
		fmt.Fprintln(stderr, "limbobench: it attaches BPF programs and makes network namespaces: run it as root (sudo make bench)")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o, stdout, stderr); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything is removed")
		}
		fmt.Fprintf(stderr, "limbobench: %v\n", err)
		return 1
	}
	return 0
}

func bench(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	root, err := sourceTree(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "limbobench-")
	if err != nil {
		return fmt.Errorf("creating temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	b := &rig.Bench{Root: root, Dir: dir, Quick: o.quick, Patience: o.patience, Progress: func(format string, args ...any) {
		fmt.Fprintf(stderr, "%4.0fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}
	r := &report.Report{Machine: host.Describe(root), Quick: o.quick}
	b.Progress("building tcplimbo")
	if err := b.Build(ctx); err != nil {
		return err
	}
	failures := measure(ctx, b, o.only, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(failures, publish(r, o, stdout))
}

func publish(r *report.Report, o options, stdout io.Writer) error {
	if o.write != "" {
		if err := r.WriteInto(o.write); err != nil {
			return err
		}
	}
	if o.plot != "" {
		if err := os.WriteFile(o.plot, []byte(r.Plot()), 0o644); err != nil {
			return fmt.Errorf("writing the plot: %w", err)
		}
	}
	if o.json {
		return r.JSON(stdout)
	}
	return r.Print(stdout)
}

// sourceTree returns the directory of the module that is measured.
func sourceTree(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the source tree: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", errors.New("finding the source tree: run this in the directory of the module")
	}
	return filepath.Dir(mod), nil
}
