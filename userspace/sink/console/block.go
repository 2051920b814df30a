package console

import (
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// block wraps words into lines with a hanging indent.
type block struct {
	dst   []byte
	width int // in cells, 0 for no wrapping
	// column is where the next word would stand; at the start of a line it
	// equals indent.
	column, indent int
	color          bool
	painted        string
}

// text appends words, wrapped between them.
func (b *block) text(s string) {
	for word := range strings.SplitSeq(s, " ") {
		b.word(word)
	}
}

// word appends one word. A word that is longer than a line stays whole: an
// address or a path that is broken in two cannot be copied.
func (b *block) word(word string) {
	if word == "" {
		return
	}
	w := readable.Width(word)
	if b.width > 0 && b.column > b.indent && b.column+1+w > b.width {
		b.newline()
	}
	if b.column != b.indent {
		b.dst = append(b.dst, ' ')
		b.column++
	}
	b.dst = append(b.dst, word...)
	b.column += w
}

// list appends facts on lines of their own, commas between them. A fact stays on
// one line if any line can hold it.
func (b *block) list(facts []string, color string) {
	if len(facts) == 0 {
		return
	}
	b.newline()
	b.paint(color)
	for i, fact := range facts {
		if i < len(facts)-1 {
			fact += ","
		}
		if b.width == 0 || b.indent+readable.Width(fact) <= b.width {
			b.word(fact)
		} else {
			b.text(fact)
		}
	}
}

// newline starts an indented line. Colours end with each line, so that a line
// taken out of its block leaves a terminal as it was.
func (b *block) newline() {
	color := b.painted
	b.unpaint()
	b.dst = append(b.dst, '\n')
	for range b.indent {
		b.dst = append(b.dst, ' ')
	}
	b.column = b.indent
	b.paint(color)
}

func (b *block) paint(color string) {
	if b.color && color != "" {
		b.dst = append(b.dst, color...)
		b.painted = color
	}
}

func (b *block) unpaint() {
	if b.painted != "" {
		b.dst = append(b.dst, reset...)
		b.painted = ""
	}
}

func (b *block) end() []byte {
	b.unpaint()
	return append(b.dst, '\n')
}
