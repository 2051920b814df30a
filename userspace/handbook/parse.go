package handbook

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// What the parser finds a part of a page by.
const (
	reasonHeading  = "Reason: "
	outcomeHeading = "Outcome: "
	outcomesPage   = "outcomes"
	// recordHeading ends what is printed: examples of records stand below it.
	recordHeading = "Record"
)

// Sections are the headings below each word, in this order.
var Sections = []string{"Meaning", "Usual cause", "How to confirm", "Fix in code", "Fix in sysctls"}

// Parse reads the pages of a folder: one named after each kind, then the
// outcomes. An error names the page and what is wrong with it.
func Parse(fsys fs.FS, folder string) (*Book, error) {
	var b Book
	pages := make([]string, 0, int(finding.KindCount))
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		pages = append(pages, k.String())
	}
	for _, name := range append(pages, outcomesPage) {
		file := path.Join(folder, name+".md")
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		entries, err := parsePage(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("reading page %s: %w", file, err)
		}
		b.entries = append(b.entries, entries...)
	}
	return &b, nil
}

// parsePage cuts a page at the headings of its words.
func parsePage(name, text string) ([]*Entry, error) {
	var entries []*Entry
	var current *Entry
	fenced := false
	for line := range strings.Lines(text) {
		level, title := heading(line)
		if isFence(line) {
			fenced = !fenced
		}
		if fenced {
			level = 0 // a comment in a shell example
		}
		switch next := begin(name, level, title); {
		case level == 2 && title == recordHeading:
			current = nil
		case next != nil:
			current = next
			entries = append(entries, current)
		case current == nil:
			continue // for readers of the page
		case level > 0:
			current.sections = append(current.sections, title)
		}
		if current != nil {
			current.Markdown += line
		}
	}
	for _, e := range entries {
		if err := e.finish(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// heading returns the level of a Markdown heading and its text; 0 if it is none.
func heading(line string) (level int, title string) {
	rest := strings.TrimLeft(line, "#")
	level = len(line) - len(rest)
	if level == 0 || !strings.HasPrefix(rest, " ") {
		return 0, ""
	}
	return level, strings.TrimSpace(rest)
}

func isFence(line string) bool { return strings.HasPrefix(line, "```") }

// begin returns the entry that a heading begins, nil if it begins none.
func begin(page string, level int, title string) *Entry {
	switch {
	case level == 1 && page != outcomesPage:
		return &Entry{Sort: Kind, Word: bare(title)}
	case level == 2 && strings.HasPrefix(title, reasonHeading):
		return &Entry{Sort: Reason, Word: bare(strings.TrimPrefix(title, reasonHeading)), Of: page}
	case level == 2 && strings.HasPrefix(title, outcomeHeading):
		return &Entry{Sort: Outcome, Word: bare(strings.TrimPrefix(title, outcomeHeading))}
	}
	return nil
}

func bare(word string) string { return strings.Trim(word, "`") }

// finish takes the summary out and checks that no section is missing.
func (e *Entry) finish() error {
	e.Markdown = strings.TrimSpace(e.Markdown) + "\n"
	_, rest, _ := strings.Cut(e.Markdown, "\n")
	summary, _, _ := strings.Cut(strings.TrimSpace(rest), "\n\n")
	if summary == "" || strings.HasPrefix(summary, "#") {
		return fmt.Errorf("%s: no sentence below its heading", e.Title())
	}
	e.Summary = strings.Join(strings.Fields(summary), " ")
	if !slices.Equal(e.sections, Sections) {
		return fmt.Errorf("%s: sections %q, want %q", e.Title(), e.sections, Sections)
	}
	return nil
}
