package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"
)

const programName = "tcplimbo"

const programUsage = "find TCP sockets in limbo: connects nobody answers, half-closed and forgotten connections"

// commands lists all commands in the order of the help.
func (w *world) commands() []*command {
	list := []*command{
		w.runCommand(), w.listCommand(), w.traceCommand(), w.checkCommand(),
		w.explainCommand(), w.configCommand(), w.unpinCommand(), versionCommand(), completionCommand(),
	}
	list = append(list, helpCommand(list))
	return append(list, completeCommand(list), manCommand(list))
}

// execute runs the program and returns its exit code. What went wrong is one
// line on stderr.
func execute(ctx context.Context, args []string, w *world) int {
	out := &output{w: w.stdout}
	err := w.app(out).RunContext(ctx, args)
	if err == nil {
		err = writing(out.err)
	}
	return report(w.stderr, err)
}

func (w *world) app(out io.Writer) *cli.App {
	commands := w.commands()
	app := &cli.App{
		Name:                  programName,
		HideHelpCommand:       true,
		HideVersion:           true,
		CustomAppHelpTemplate: asTemplate(overview(commands)),
		// The library adds its help flag only together with its help command.
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "version"}, cli.HelpFlag},
		Writer:    out,
		ErrWriter: w.stderr,
		// The default prints and ends the process; here main does.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return rootUsageError(err, commands)
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("version"):
				return printVersion(c.App.Writer, formText)
			case c.Args().Present():
				return unknownCommand(c.Args().First(), commands)
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range commands {
		app.Commands = append(app.Commands, c.toCLI())
	}
	return app
}
