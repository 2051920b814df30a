package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself (`tcplimbo __complete`), so they know each
// version's flags.
var (
	//go:embed scripts/completion.bash
	bashScript string
	//go:embed scripts/completion.zsh
	zshScript string
	//go:embed scripts/completion.fish
	fishScript string
)

const completeName = "__complete"

// filesAnswer asks the shell to complete file names itself.
const filesAnswer = ":files"

// fileArg is how the argument is shown that is a file.
const fileArg = "[FILE]"

func completionCommand() *command {
	shells := []string{"bash", "zsh", "fish"}
	return &command{
		name: "completion", usage: "print the completion script of a shell", args: "bash|zsh|fish", argValues: shells,
		description: "Load it in the shell's start-up file, or put it where the shell looks for completions.",
		examples: []example{
			{"source <(tcplimbo completion bash)", "in ~/.bashrc"},
			{"source <(tcplimbo completion zsh)", "in ~/.zshrc, after compinit"},
			{"tcplimbo completion fish > ~/.config/fish/completions/tcplimbo.fish", "for fish"},
		},
		run: func(c *cli.Context) error {
			script, ok := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Args().First()]
			switch {
			case c.NArg() == 0:
				return usageError("which shell? give one of %s", strings.Join(shells, ", "))
			case !ok:
				return usageError("no completion for %q; there is one for %s", c.Args().First(), strings.Join(shells, ", "))
			case c.NArg() > 1:
				return usageError("unexpected argument %q; give one shell", c.Args().Get(1))
			}
			_, err := io.WriteString(c.App.Writer, script)
			return writing(err)
		},
	}
}

// completeCommand prints candidates for the last of its arguments, one a line,
// each with a tab and a description.
func completeCommand(others []*command) *command {
	return &command{
		name: completeName, usage: "print completions for a shell", args: "WORD…", hidden: true, raw: true,
		run: func(c *cli.Context) error {
			var b strings.Builder
			for _, cand := range complete(others, c.Args().Slice()) {
				fmt.Fprintf(&b, "%s\t%s\n", cand.word, cand.does)
			}
			_, err := io.WriteString(c.App.Writer, b.String())
			return writing(err)
		},
	}
}

type candidate struct{ word, does string }

// complete returns what the last word can become; words are those after the
// program's name. Bash splits --output=json into three words at the "=", so a
// word "=" is understood as well.
func complete(commands []*command, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	words = joinSplit(words)
	current := words[len(words)-1]
	if len(words) == 1 {
		return matching(current, rootCandidates(commands))
	}
	i := slices.IndexFunc(commands, func(c *command) bool { return c.name == words[0] })
	if i < 0 {
		return nil
	}
	return commands[i].complete(words[1:len(words)-1], current)
}

// joinSplit undoes bash's splitting: the words --output, =, js become --output,
// js; what the shell replaces is the last word alone.
func joinSplit(words []string) []string {
	joined := make([]string, 0, len(words))
	for i, w := range words {
		if w == "=" && i > 0 && strings.HasPrefix(words[i-1], "--") {
			if i == len(words)-1 {
				joined = append(joined, "")
			}
			continue
		}
		joined = append(joined, w)
	}
	return joined
}

func rootCandidates(commands []*command) []candidate {
	var all []candidate
	for _, c := range commands {
		if !c.hidden {
			all = append(all, candidate{c.name, c.usage})
		}
	}
	return append(all, candidate{"--help", "show help"}, candidate{"--version", "show the version"})
}

func (c *command) complete(before []string, current string) []candidate {
	if len(c.sub) > 0 && len(before) > 0 {
		if i := slices.Index(c.subWords(), before[0]); i >= 0 {
			return c.sub[i].complete(before[1:], current)
		}
		return nil
	}
	if name, value, found := strings.Cut(current, "="); found {
		if f := c.typed(name); f != nil && !f.isSwitch() {
			return prefixed(name+"=", matching(value, f.candidates()))
		}
		return nil
	}
	if len(before) > 0 {
		if f := c.typed(before[len(before)-1]); f != nil && !f.isSwitch() {
			return matching(current, f.candidates())
		}
	}
	if strings.HasPrefix(current, "-") {
		return matching(current, c.flagCandidates(before))
	}
	var all []candidate
	for _, s := range c.sub {
		all = append(all, candidate{s.word(), s.usage})
	}
	if c.args == fileArg {
		all = append(all, candidate{word: filesAnswer})
	}
	for _, v := range c.argValues {
		all = append(all, candidate{word: v})
	}
	return matching(current, all)
}

// typed returns the flag that a word such as --output or -o stands for.
func (c *command) typed(word string) *flagSpec {
	name, dashes := strings.CutPrefix(word, "-")
	if !dashes {
		return nil
	}
	return c.flag(strings.TrimPrefix(name, "-"))
}

// flagCandidates leaves out what stands on the line already and may not be
// repeated.
func (c *command) flagCandidates(before []string) []candidate {
	used := map[*flagSpec]bool{}
	for _, word := range before {
		name, _, _ := strings.Cut(word, "=")
		used[c.typed(name)] = true
	}
	var all []candidate
	for i := range c.flags {
		f := &c.flags[i]
		if f.hidden || used[f] && !f.repeat {
			continue
		}
		all = append(all, candidate{dashed(f.name), f.usage})
	}
	return append(all, candidate{"--help", "show help"})
}

// candidates are the flag's possible values.
func (f *flagSpec) candidates() []candidate {
	if f.file {
		return []candidate{{word: filesAnswer}}
	}
	values := f.values
	if f.name == "netns" {
		values = netNSNames()
	}
	var all []candidate
	for _, v := range values {
		all = append(all, candidate{word: v})
	}
	return all
}

func matching(prefix string, all []candidate) []candidate {
	var fit []candidate
	for _, c := range all {
		if strings.HasPrefix(c.word, prefix) || c.word == filesAnswer {
			fit = append(fit, c)
		}
	}
	return fit
}

func prefixed(prefix string, all []candidate) []candidate {
	for i := range all {
		if all[i].word != filesAnswer {
			all[i].word = prefix + all[i].word
		}
	}
	return all
}
