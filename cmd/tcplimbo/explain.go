package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tcplimbo/tcplimbo/docs"
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/handbook"
)

const formMarkdown = "markdown"

// explainWidth is the longest line; longer ones are hard to read.
const explainWidth = 100

func (w *world) explainCommand() *command {
	return &command{
		name: "explain", usage: "explain a kind of finding, a reason or an outcome in plain words",
		args: "[WORD]", argValues: handbook.Words(),
		description: "It tells what the word means, its usual cause, how to confirm it with standard tools, and how to fix it " +
			"in code and in sysctls. WORD can also be a TCP state. Without a word it lists the words.",
		flags: []flagSpec{{
			name: "output", short: "o", placeholder: "FORM", def: formText, values: []string{formText, formMarkdown},
			usage: "text or markdown",
		}},
		examples: []example{
			{"tcplimbo explain", "all words, each with a sentence"},
			{"tcplimbo explain eof_ignored", "why a socket sits in CLOSE_WAIT"},
			{"tcplimbo explain -o markdown close_wait_silent", "for a ticket or a runbook"},
		},
		run: w.explain,
	}
}

func (w *world) explain(c *cli.Context) error {
	form, err := oneOf(c, "output", formText, formMarkdown)
	if err != nil {
		return err
	}
	if c.NArg() > 1 {
		return secondWord(c.Args().Get(1))
	}
	book, err := handbook.Parse(docs.Findings, "findings")
	if err != nil {
		return err
	}
	text, err := explained(book, c.Args().First(), form, w.explainStyle())
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.App.Writer, text)
	return writing(err)
}

func (w *world) explainStyle() handbook.Style {
	width := w.stdoutTerminal.Width
	if width == 0 {
		width = helpWidth
	}
	return handbook.Style{Width: min(width, explainWidth), Bold: w.stdoutTerminal.Color}
}

func explained(book *handbook.Book, word, form string, style handbook.Style) (string, error) {
	if word == "" {
		if form == formMarkdown {
			return book.MarkdownContents(), nil
		}
		return book.Contents(style), nil
	}
	entries := book.Find(word)
	if len(entries) == 0 {
		entries = book.Find(finding.KindOf(parseState(word)).String())
	}
	switch {
	case len(entries) == 0:
		return "", unknownWord(word)
	case form == formMarkdown:
		return book.Markdown(entries), nil
	}
	return book.Text(entries, style), nil
}

// outsideLimbo says what the states are that no finding is about.
var outsideLimbo = map[flow.State]string{
	flow.StateListen:   "the socket waits for connections; where its queue is full see `tcplimbo explain listener_overflow`",
	flow.StateSynRecv:  "the handshake of a connection that comes in; the kernel ends it after some retries (net.ipv4.tcp_synack_retries)",
	flow.StateTimeWait: "the connection has ended and nobody holds it; the kernel lets go of it after a minute",
	flow.StateClose:    "the socket has no connection",
}

func unknownWord(word string) error {
	if state := parseState(word); outsideLimbo[state] != "" {
		return usageError("%s is no state in limbo: %s", state.Label(), outsideLimbo[state])
	}
	if best := nearest.To(handbook.Fold(word), handbook.Words()); best != "" {
		return usageError("unknown word %q; did you mean `tcplimbo explain %s`?", word, best)
	}
	return usageError("unknown word %q; `tcplimbo explain` lists the words", word)
}

func secondWord(word string) error {
	if strings.HasPrefix(word, "-") {
		return usageError("unexpected argument %q; flags stand before the word, as in `tcplimbo explain -o markdown WORD`", word)
	}
	return usageError("unexpected argument %q; give one word", word)
}
