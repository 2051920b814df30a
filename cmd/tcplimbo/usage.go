package main

import (
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
)

// What the standard flag package says (flag.FlagSet.parseOne), and urfave/cli's
// normalizeFlags. The names behind are without dashes.
const (
	saysUnknown    = "flag provided but not defined: -"
	saysNoValue    = "flag needs an argument: -"
	saysBadSwitch  = "invalid boolean value "
	saysBadSyntax  = "bad flag syntax: "
	saysTwoForms   = "Cannot use two forms of the same flag: "
	seeHelpPattern = "; see `tcplimbo %s --help`"
)

// usageError says what is wrong with the command line in words that lead on.
func (c *command) usageError(err error) error {
	text := err.Error()
	if name, found := strings.CutPrefix(text, saysUnknown); found {
		return c.unknownFlag(name)
	}
	if name, found := strings.CutPrefix(text, saysNoValue); found {
		return c.valueMissing(name)
	}
	if rest, found := strings.CutPrefix(text, saysBadSwitch); found {
		_, name, _ := strings.Cut(rest, " for -")
		name, _, _ = strings.Cut(name, ":")
		return usageError("%s is a switch and takes no value", dashed(name))
	}
	if word, found := strings.CutPrefix(text, saysBadSyntax); found {
		return usageError("%q is not a flag"+seeHelpPattern, word, c.name)
	}
	if names, found := strings.CutPrefix(text, saysTwoForms); found {
		a, b, _ := strings.Cut(names, " ")
		return usageError("%s and %s are the same flag; give it once", dashed(a), dashed(b))
	}
	return usageError("%w"+seeHelpPattern, err, c.name)
}

func (c *command) unknownFlag(name string) error {
	if best := nearest.To(name, c.flagNames()); best != "" {
		return usageError("unknown flag %q for \"tcplimbo %s\"; did you mean %s?", dashed(name), c.name, dashed(best))
	}
	return usageError("unknown flag %q for \"tcplimbo %s\""+seeHelpPattern, dashed(name), c.name, c.name)
}

func (c *command) valueMissing(name string) error {
	f := c.flag(name)
	if f == nil {
		return usageError("%s needs a value"+seeHelpPattern, dashed(name), c.name)
	}
	text := dashed(name) + " needs a value: " + f.placeholder
	switch {
	case len(f.values) > 0:
		text = dashed(name) + " needs a value: " + strings.Join(f.values, ", ")
	case f.def != "" && f.def != "0":
		text += " such as " + f.def
	}
	return usageError("%s", text)
}

// rootUsageError is for flags before the command. People who put a command's
// flag there are told where it belongs.
func rootUsageError(err error, commands []*command) error {
	name, found := strings.CutPrefix(err.Error(), saysUnknown)
	if !found {
		return usageError("%w; see `tcplimbo --help`", err)
	}
	for _, c := range commands {
		if c.flag(name) != nil && !c.hidden {
			return usageError("unknown flag %q; flags stand after the command, as in `tcplimbo %s %s`",
				dashed(name), c.name, dashed(name))
		}
	}
	return usageError("unknown flag %q; see `tcplimbo --help`", dashed(name))
}

func unknownCommand(word string, commands []*command) error {
	if best := nearest.To(word, commandNames(commands)); best != "" {
		return usageError("unknown command %q; did you mean `tcplimbo %s`?", word, best)
	}
	return usageError("unknown command %q; `tcplimbo --help` lists the commands", word)
}

func commandNames(commands []*command) []string {
	var names []string
	for _, c := range commands {
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	return names
}
