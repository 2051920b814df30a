package handbook

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// Style is how text is shown.
type Style struct {
	// Width is where lines are broken, in cells. Examples are not broken:
	// they are there to be copied.
	Width int
	// Bold sets headings off; for terminals.
	Bold bool
}

const (
	textIndent = "  "
	codeIndent = "      "
	// wordColumn is where the text behind the words of a list begins; the
	// longest word, established_stalled, and its indent fit before it.
	wordColumn = 24
)

// Markdown returns the entries as they stand on their pages. A kind is followed
// by a list of its reasons, which stand further down on the same page.
func (b *Book) Markdown(entries []*Entry) string {
	var out strings.Builder
	for i, e := range entries {
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(e.Markdown)
		if e.Sort == Kind {
			out.WriteString("\n## Reasons\n\n" + bullets(b.reasons(e.Word), ""))
		}
	}
	return out.String()
}

// MarkdownContents lists all words.
func (b *Book) MarkdownContents() string {
	var out strings.Builder
	out.WriteString("# Kinds and reasons\n\n")
	for _, kind := range b.filter(func(e *Entry) bool { return e.Sort == Kind }) {
		out.WriteString(bullets([]*Entry{kind}, "") + bullets(b.reasons(kind.Word), textIndent))
	}
	out.WriteString("\n# Outcomes\n\n" + bullets(b.outcomes(), ""))
	return out.String()
}

func bullets(entries []*Entry, indent string) string {
	var out strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&out, "%s- `%s`: %s\n", indent, e.Word, e.Summary)
	}
	return out.String()
}

// Text returns the entries as text.
func (b *Book) Text(entries []*Entry, s Style) string {
	p := printer{Style: s}
	for _, e := range entries {
		p.entry(e)
		if e.Sort == Kind {
			p.heading("Reasons")
			for _, reason := range b.reasons(e.Word) {
				p.word(textIndent, reason)
			}
		}
	}
	return p.String()
}

// Contents lists all words as text.
func (b *Book) Contents(s Style) string {
	p := printer{Style: s}
	p.heading("Kinds and reasons")
	for _, kind := range b.filter(func(e *Entry) bool { return e.Sort == Kind }) {
		p.word(textIndent, kind)
		for _, reason := range b.reasons(kind.Word) {
			p.word(textIndent+textIndent, reason)
		}
	}
	p.heading("Outcomes")
	for _, e := range b.outcomes() {
		p.word(textIndent, e)
	}
	return p.String()
}

func (b *Book) outcomes() []*Entry {
	return b.filter(func(e *Entry) bool { return e.Sort == Outcome })
}

// printer turns the pages' Markdown into text. It knows what they use:
// headings, paragraphs, lists with dashes, fenced examples, links and `code`;
// a test holds the pages to that.
type printer struct {
	strings.Builder
	Style
	// text collects a paragraph or an item of a list.
	text []string
}

func (p *printer) entry(e *Entry) {
	_, body, _ := strings.Cut(e.Markdown, "\n")
	p.heading(e.Title())
	fenced := false
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\n")
		level, title := heading(line)
		switch {
		case isFence(line):
			p.flush()
			if !fenced {
				p.gap()
			}
			fenced = !fenced
		case fenced:
			p.WriteString(strings.TrimRight(codeIndent+line, " ") + "\n")
		case level > 0:
			p.flush()
			p.heading(title)
		case strings.HasPrefix(line, "- "):
			p.flush()
			p.text = []string{line}
		case line == "":
			p.flush()
		default:
			if len(p.text) == 0 {
				p.gap()
			}
			p.text = append(p.text, line)
		}
	}
	p.flush()
}

// gap separates a block from the one before, but not from its heading.
func (p *printer) gap() {
	written := p.Builder.String()
	last := strings.LastIndexByte(strings.TrimSuffix(written, "\n"), '\n')
	if strings.HasPrefix(written[last+1:], " ") {
		p.WriteString("\n")
	}
}

func (p *printer) heading(title string) {
	if p.Len() > 0 {
		p.WriteString("\n")
	}
	for _, line := range readable.Wrap(title, p.Width) {
		if p.Bold {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		p.WriteString(line + "\n")
	}
}

func (p *printer) flush() {
	if len(p.text) == 0 {
		return
	}
	first, rest := textIndent, textIndent
	text, isItem := strings.CutPrefix(strings.Join(p.text, " "), "- ")
	if isItem {
		first, rest = textIndent+"- ", textIndent+textIndent
	}
	p.wrap(first, rest, plain(text))
	p.text = nil
}

func (p *printer) wrap(first, rest, text string) {
	for i, line := range readable.Wrap(text, p.Width-len(rest)) {
		indent := rest
		if i == 0 {
			indent = first
		}
		p.WriteString(indent + line + "\n")
	}
}

// word writes a word and its summary in two columns.
func (p *printer) word(indent string, e *Entry) {
	first := fmt.Sprintf("%-*s", wordColumn, indent+e.Word)
	rest := strings.Repeat(" ", wordColumn)
	if p.Width < 2*wordColumn {
		p.WriteString(indent + e.Word + "\n")
		first, rest = indent+textIndent, indent+textIndent
	}
	p.wrap(first, rest, plain(e.Summary))
}

var (
	link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)
	// name is a code span without a space; it needs no quotes in text.
	name = regexp.MustCompile("`([^` ]+)`")
)

// plain takes the marks out of a paragraph. Commands keep their backquotes, or
// one could not see where they end.
func plain(text string) string {
	return name.ReplaceAllString(link.ReplaceAllString(text, "$1"), "$1")
}
