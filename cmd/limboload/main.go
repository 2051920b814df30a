// Command limboload makes TCP sockets that are stuck, or many that are
// healthy, and says what it made: the load that tcplimbo's tests and
// benchmarks measure with.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

func main() {
	workload.RunChild()
	os.Exit(run(os.Args))
}

// run returns the exit code: 0 fine, 1 the load could not be made, 2 usage.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	onUsage := func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
	app := &cli.App{
		Name:            "limboload",
		Usage:           "make stuck and healthy TCP connections for testing tcplimbo",
		HideHelpCommand: true,
		Commands:        []*cli.Command{stuckCommand(), churnCommand(), holdCommand()},
		OnUsageError:    onUsage,
		// urfave would exit by itself in the middle of a clean-up.
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("unknown command %q, see limboload --help", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = onUsage
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "limboload: %v\n", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func netnsFlag() cli.Flag {
	return &cli.StringFlag{Name: "netns", Usage: "network namespace: a `NAME` of /run/netns, or new; the host's by default"}
}

func openNetns(c *cli.Context) (*workload.Namespace, error) {
	switch name := c.String("netns"); name {
	case "":
		return nil, nil
	case "new":
		return workload.NewNamedNamespace()
	default:
		return workload.OpenNamespace(name)
	}
}
