// Package handbook explains kinds, reasons and outcomes in the words of the
// pages under docs/findings: it finds the part of a page that is about a word,
// and shows it as Markdown or as text for a terminal.
package handbook

import (
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Sort says what a word is.
type Sort uint8

// The sorts of words; the same word may be of several.
const (
	Kind Sort = iota
	Reason
	Outcome
)

var sortNames = [...]string{Kind: "kind", Reason: "reason", Outcome: "outcome"}

func (s Sort) String() string { return sortNames[s] }

// Entry is what the pages say about one word. A reason that several kinds have
// has an entry in each.
type Entry struct {
	Sort Sort
	Word string
	// Of is the kind that a reason belongs to, otherwise empty.
	Of string
	// Summary is the sentence below the heading, without line breaks.
	Summary string
	// Markdown is the part of the page, its heading included.
	Markdown string

	sections []string
}

// Title is the heading on a terminal, for example
// "eof_ignored: reason of close_wait_silent".
func (e *Entry) Title() string {
	title := e.Word + ": " + e.Sort.String()
	if e.Of != "" {
		title += " of " + e.Of
	}
	return title
}

// Book is all entries in the order of the contract.
type Book struct{ entries []*Entry }

// Find returns the entries about a word, none for an unknown one. Case and
// dashes do not matter.
func (b *Book) Find(word string) []*Entry {
	word = Fold(word)
	return b.filter(func(e *Entry) bool { return e.Word == word })
}

// Fold writes a word as the records do: CLOSE-WAIT-SILENT is close_wait_silent.
func Fold(word string) string {
	return strings.ReplaceAll(strings.ToLower(word), "-", "_")
}

func (b *Book) reasons(kind string) []*Entry {
	return b.filter(func(e *Entry) bool { return e.Of == kind })
}

func (b *Book) filter(want func(*Entry) bool) []*Entry {
	var found []*Entry
	for _, e := range b.entries {
		if want(e) {
			found = append(found, e)
		}
	}
	return found
}

// Words returns all words that can be explained, each once: kinds, reasons,
// outcomes. It comes from package finding and reads no page, so that a
// completion costs nothing; a test compares it with the pages.
func Words() []string {
	var words []string
	seen := map[string]bool{}
	add := func(word string) {
		if !seen[word] {
			seen[word] = true
			words = append(words, word)
		}
	}
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		add(k.String())
	}
	for r := finding.ReasonNone + 1; r < finding.ReasonCount; r++ {
		add(r.String())
	}
	for o := finding.OutcomeNone + 1; o < finding.OutcomeCount; o++ {
		add(o.String())
	}
	return words
}
