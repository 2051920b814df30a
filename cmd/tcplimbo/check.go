package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/userspace/check"
)

func (w *world) checkCommand() *command {
	return &command{
		name: "check", usage: "tell what this kernel, these capabilities and this container allow",
		description: "Each line is ok, warn or fail, a name, what was found, what follows from it and what to do. " +
			"The exit code is 0 if `tcplimbo run` would work here with eBPF, 69 if this kernel cannot, 77 if a permission is missing; " +
			"run and list then poll netlink instead (--source auto), and the line sockdiag says what is lost by that. " +
			"It works without privilege, except that the programs are then not tried.",
		flags: []flagSpec{{
			name: "output", short: "o", placeholder: "FORM", def: formTable, values: []string{formTable, formJSON},
			usage: "table or json",
		}},
		examples: []example{
			{"sudo tcplimbo check", "on a host, before the first run"},
			{"kubectl exec ds/tcplimbo -- tcplimbo check", "in a DaemonSet"},
			{"tcplimbo check -o json | jq '.checks[] | select(.status != \"ok\")'", "what is not well"},
		},
		run: w.check,
	}
}

func (w *world) check(c *cli.Context) error {
	form, err := oneOf(c, "output", formTable, formJSON)
	if err != nil {
		return err
	}
	report := check.Run(c.Context, w.host, w.kernel)
	if form == formJSON {
		err = report.WriteJSON(c.App.Writer)
	} else {
		err = report.WriteTable(c.App.Writer, w.stdoutTerminal.Width, w.stdoutTerminal.Color)
	}
	if err != nil {
		return writing(err)
	}
	if code := report.ExitCode(); code != 0 {
		return &exitError{code, errors.New("this host cannot run it with eBPF: failed: " + strings.Join(report.Failed(), ", ") +
			"; the report says what to do")}
	}
	return nil
}
