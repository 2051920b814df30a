package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// manCommand prints the manual page; `make install` puts it in its place.
func manCommand(others []*command) *command {
	return &command{
		name: "man", usage: "print the manual page", hidden: true,
		examples: []example{{"tcplimbo man | man -l -", "read it"}},
		run: func(c *cli.Context) error {
			_, err := io.WriteString(c.App.Writer, manual(others))
			return writing(err)
		},
	}
}

const manDescription = "tcplimbo finds TCP sockets that look fine to the program that owns them and are not: connects that nobody " +
	"answers (SYN_SENT), half-closed sockets whose peer never finishes (FIN_WAIT2), sockets that the peer closed and the " +
	"program forgot (CLOSE_WAIT), closes that are never acknowledged, and connections whose data no longer moves (ESTABLISHED). " +
	"It says who holds the socket, why it is stuck, and when the kernel will give up, if ever."

const manPrivileges = "run, list and trace load BPF programs. That takes CAP_BPF and CAP_PERFMON (or root) and Linux 5.10 or newer with " +
	"BTF. CAP_SYS_PTRACE lets them name the executables of other users' processes. tcplimbo check tells what is missing."

// manual is written as man(7) macros by hand: what urfave/cli makes by way of
// Markdown has neither the environment nor the examples.
func manual(commands []*command) string {
	var m roff
	m.line(`.TH TCPLIMBO 1 "" "%s" "User Commands"`, roffText(programName+" "+thisBuild().Version))
	m.section("NAME", programName+" - "+programUsage)
	m.line(".SH SYNOPSIS\n.nf")
	for _, c := range commands {
		if !c.hidden {
			m.line(".B %s", roffText(c.synopsis()))
		}
	}
	m.line(".fi")
	m.section("DESCRIPTION", manDescription)
	m.line(".SH COMMANDS")
	for _, c := range withSub(commands) {
		if !c.hidden {
			m.command(c)
		}
	}
	m.section("PRIVILEGES", manPrivileges)
	m.section("ENVIRONMENT", "Each flag of run can be given as TCPLIMBO_NAME, with underscores for dashes: TCPLIMBO_CLOSE_WAIT=10s. "+
		"NO_COLOR turns colours off.")
	m.section("SIGNALS", "SIGINT and SIGTERM end run and trace in order, with exit code 0. SIGUSR1 makes run reopen its log file. SIGHUP makes run read its configuration file again, as it does when the file has changed.")
	m.section("EXIT STATUS", strings.TrimPrefix(exitCodes, "Exit codes: "))
	m.section("SEE ALSO", "ss(8), tcp(7), capabilities(7)")
	return m.String()
}

// roff collects man(7) source.
type roff struct{ strings.Builder }

func (m *roff) line(format string, args ...any) { fmt.Fprintf(m, format+"\n", args...) }

func (m *roff) section(name, text string) { m.line(".SH %s\n%s", name, roffText(text)) }

func (m *roff) command(c *command) {
	m.line(".SS %s", roffText(c.synopsis()))
	text := c.usage
	text = strings.ToUpper(text[:1]) + text[1:] + "."
	if c.description != "" {
		text += " " + c.description
	}
	m.line("%s", roffText(text))
	for _, group := range c.groups() {
		if group != defaultGroup {
			m.line(".PP\n%s:", roffText(group))
		}
		for _, f := range c.visible(group) {
			m.line(".TP\n.B %s\n%s", roffText(f.label()), roffText(f.text()))
		}
	}
	if len(c.legend) > 0 {
		m.line(".PP\n%s:", legendHeading)
		for _, l := range c.legend {
			m.line(".TP\n.B %s\n%s", roffText(l.word), roffText(l.meaning))
		}
	}
	m.line(".PP\nExamples:")
	for _, e := range c.examples {
		m.line(".TP\n.B %s\n%s", roffText(e.line), roffText(e.does))
	}
}

// roffText keeps roff from reading text as its own: backslashes, dashes (which
// it would make hyphens), quotes at word ends, and a dot or quote at the start of a line.
func roffText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`, "…", "...").Replace(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}
