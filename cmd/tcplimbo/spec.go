package main

import (
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
)

// command describes one command. The parser, the help, the manual page and the
// shell completions are all made from it, so they cannot differ.
type command struct {
	name string
	// usage is one line; description is the paragraph below it.
	usage, description string
	// args shows the arguments in the synopsis and argValues lists what they
	// can be; without args any argument is an error.
	args      string
	argValues []string
	flags     []flagSpec
	// legend explains what the command prints, word by word.
	legend   []legendEntry
	examples []example
	hidden   bool
	// sub are commands of this one; their names begin with its own. Then run is nil.
	sub []*command
	// raw hands all arguments to run without looking for flags.
	raw bool
	run func(*cli.Context) error
}

type legendEntry struct{ word, meaning string }

type example struct{ line, does string }

// flagSpec describes one flag.
type flagSpec struct {
	name, short string
	// placeholder names the value; a flag without one is a switch.
	placeholder string
	// def is the default as one would write it, "" for none.
	def   string
	usage string
	// group is the heading in the help.
	group string
	// values are all possible values, if they can be listed.
	values []string
	// file says that the value is a path.
	file bool
	// repeat allows the flag several times and comma-separated values.
	repeat bool
	hidden bool
}

const defaultGroup = "Flags"

func (f *flagSpec) isSwitch() bool { return f.placeholder == "" }

func (f *flagSpec) heading() string {
	if f.group == "" {
		return defaultGroup
	}
	return f.group
}

// dashed is the flag as one would type it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// toCLI makes the parser's form. All values are strings to it: the commands
// parse them, so that each error says what is allowed.
func (f *flagSpec) toCLI() cli.Flag {
	var aliases []string
	if f.short != "" {
		aliases = []string{f.short}
	}
	switch {
	case f.isSwitch():
		return &cli.BoolFlag{Name: f.name, Aliases: aliases, Usage: f.usage, Hidden: f.hidden}
	case f.repeat:
		return &cli.StringSliceFlag{Name: f.name, Aliases: aliases, Usage: f.usage, Hidden: f.hidden}
	default:
		return &cli.StringFlag{Name: f.name, Aliases: aliases, Usage: f.usage, Hidden: f.hidden, Value: f.def}
	}
}

func (c *command) toCLI() *cli.Command {
	flags := make([]cli.Flag, len(c.flags))
	for i := range c.flags {
		flags[i] = c.flags[i].toCLI()
	}
	var sub []*cli.Command
	for _, s := range c.sub {
		sub = append(sub, s.toCLI())
	}
	return &cli.Command{
		Name:               c.word(),
		Subcommands:        sub,
		Usage:              c.usage,
		Flags:              flags,
		Hidden:             c.hidden,
		SkipFlagParsing:    c.raw,
		HideHelpCommand:    true,
		CustomHelpTemplate: asTemplate(c.help()),
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return c.usageError(err)
		},
		Action: func(ctx *cli.Context) error {
			if c.sub != nil {
				return c.show(ctx)
			}
			if c.args == "" && ctx.Args().Present() {
				return usageError("unexpected argument %q; %q takes flags only", ctx.Args().First(), "tcplimbo "+c.name)
			}
			return c.run(ctx)
		},
	}
}

// word is the name without those of the commands above.
func (c *command) word() string { return c.name[strings.LastIndexByte(c.name, ' ')+1:] }

// show is what a command does that only has others below it.
func (c *command) show(ctx *cli.Context) error {
	if !ctx.Args().Present() {
		_, err := io.WriteString(ctx.App.Writer, c.help())
		return writing(err)
	}
	word := ctx.Args().First()
	if best := nearest.To(word, c.subWords()); best != "" {
		return usageError("unknown command %q; did you mean `tcplimbo %s %s`?", c.name+" "+word, c.name, best)
	}
	return usageError("unknown command %q; there is %s", c.name+" "+word, strings.Join(c.subWords(), ", "))
}

func (c *command) subWords() []string {
	var words []string
	for _, s := range c.sub {
		words = append(words, s.word())
	}
	return words
}

// asTemplate makes text that the parser's template engine prints as it is.
func asTemplate(text string) string {
	return strings.ReplaceAll(text, "{{", `{{"{{"}}`)
}

func (c *command) flag(name string) *flagSpec {
	i := slices.IndexFunc(c.flags, func(f flagSpec) bool { return f.name == name || f.short == name && name != "" })
	if i < 0 {
		return nil
	}
	return &c.flags[i]
}

func (c *command) flagNames() []string {
	names := []string{"help"}
	for i := range c.flags {
		if !c.flags[i].hidden {
			names = append(names, c.flags[i].name)
		}
	}
	return names
}
