package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// helpWidth fits the narrowest terminal in common use; longer lines are harder
// to read on wider ones.
const helpWidth = 80

// flagColumn is where the text behind the flags begins.
const flagColumn = 30

// legendHeading stands above the words that a command prints, legendColumn is
// where their meaning begins.
const (
	legendHeading = "Columns"
	legendColumn  = 22
)

const exitCodes = "Exit codes: 0 fine, 1 runtime failure, 2 usage or configuration, 69 this kernel cannot, 77 missing permission."

func helpCommand(others []*command) *command {
	c := &command{
		name: "help", usage: "show the help of a command", args: "[COMMAND]", argValues: commandNames(others),
		description: "Without a command it lists the commands.",
		examples:    []example{{"tcplimbo help run", "all flags of the daemon"}},
	}
	all := append(others[:len(others):len(others)], c)
	c.run = func(ctx *cli.Context) error {
		if !ctx.Args().Present() {
			_, err := io.WriteString(ctx.App.Writer, overview(all))
			return writing(err)
		}
		word := strings.Join(ctx.Args().Slice(), " ")
		for _, other := range withSub(all) {
			if other.name == word {
				_, err := io.WriteString(ctx.App.Writer, other.help())
				return writing(err)
			}
		}
		return unknownCommand(word, all)
	}
	return c
}

// withSub lists commands and those below them.
func withSub(commands []*command) []*command {
	var all []*command
	for _, c := range commands {
		all = append(append(all, c), c.sub...)
	}
	return all
}

// overview is what `tcplimbo` alone prints.
func overview(commands []*command) string {
	var b strings.Builder
	paragraph(&b, programName+" - "+programUsage)
	b.WriteString("\nUSAGE\n  tcplimbo COMMAND [flags]\n\nCOMMANDS\n")
	for _, c := range commands {
		if !c.hidden {
			entry(&b, c.name, c.usage, 14)
		}
	}
	b.WriteString("\nFLAGS\n")
	entry(&b, "-h, --help", "show help; also of each command", 14)
	entry(&b, "--version", "show the version", 14)
	b.WriteString("\nEXAMPLES\n")
	writeExamples(&b, []example{
		{"sudo tcplimbo list", "what is stuck right now"},
		{"sudo tcplimbo run -o console", "watch, and tell when something gets stuck"},
		{"tcplimbo check", "whether it works on this host"},
	})
	b.WriteString("\n")
	paragraph(&b, exitCodes)
	return b.String()
}

// help is the text of --help.
func (c *command) help() string {
	var b strings.Builder
	paragraph(&b, programName+" "+c.name+" - "+c.usage)
	fmt.Fprintf(&b, "\nUSAGE\n  %s\n", c.synopsis())
	if c.description != "" {
		b.WriteString("\n")
		paragraph(&b, c.description)
	}
	if len(c.sub) > 0 {
		b.WriteString("\nCOMMANDS\n")
		for _, s := range c.sub {
			entry(&b, s.word(), s.usage, 14)
		}
	}
	for _, group := range c.groups() {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(group))
		for _, f := range c.visible(group) {
			entry(&b, f.label(), f.text(), flagColumn)
		}
	}
	if len(c.legend) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(legendHeading))
		for _, l := range c.legend {
			entry(&b, l.word, l.meaning, legendColumn)
		}
	}
	b.WriteString("\nEXAMPLES\n")
	writeExamples(&b, c.examples)
	return b.String()
}

func (c *command) synopsis() string {
	s := programName + " " + c.name
	if len(c.flags) > 0 {
		s += " [flags]"
	}
	if len(c.sub) > 0 {
		s += " " + strings.Join(c.subWords(), "|")
	}
	if c.args != "" {
		s += " " + c.args
	}
	return s
}

// groups returns the headings in the order of their first flag.
func (c *command) groups() []string {
	var groups []string
	seen := map[string]bool{}
	for i := range c.flags {
		f := &c.flags[i]
		if !f.hidden && !seen[f.heading()] {
			seen[f.heading()] = true
			groups = append(groups, f.heading())
		}
	}
	return groups
}

func (c *command) visible(group string) []*flagSpec {
	var flags []*flagSpec
	for i := range c.flags {
		if f := &c.flags[i]; !f.hidden && f.heading() == group {
			flags = append(flags, f)
		}
	}
	return flags
}

// label is the flag with its short form and placeholder.
func (f *flagSpec) label() string {
	label := dashed(f.name)
	if f.short != "" {
		label = dashed(f.short) + ", " + label
	}
	if !f.isSwitch() {
		label += " " + f.placeholder
	}
	return label
}

// text is what the flag does, with its default.
func (f *flagSpec) text() string {
	if f.def == "" || f.def == "0" {
		return f.usage
	}
	return f.usage + " (default " + f.def + ")"
}

// entry writes a label and its text in two columns.
func entry(b *strings.Builder, label, text string, column int) {
	lines := readable.Wrap(text, helpWidth-column)
	if len(label)+4 > column {
		fmt.Fprintf(b, "  %s\n", label)
	} else {
		fmt.Fprintf(b, "  %-*s%s\n", column-2, label, lines[0])
		lines = lines[1:]
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%*s%s\n", column, "", line)
	}
}

func paragraph(b *strings.Builder, text string) {
	for _, line := range readable.Wrap(text, helpWidth) {
		b.WriteString(line + "\n")
	}
}

func writeExamples(b *strings.Builder, examples []example) {
	for _, e := range examples {
		fmt.Fprintf(b, "  # %s\n  %s\n", e.does, e.line)
	}
}
