package readable

import "github.com/mattn/go-runewidth"

// cells counts terminal cells. It does not follow the locale: ambiguous
// characters count one cell, as terminals draw them unless told otherwise, and
// the same table comes out everywhere.
var cells = &runewidth.Condition{StrictEmojiNeutral: true}

// Width returns how many terminal cells s takes. s must be safe.
func Width(s string) int {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return cells.StringWidth(s)
		}
	}
	return len(s)
}

// Cut returns s shortened to at most width cells; cut text ends in Mark.
func Cut(s string, width int) string {
	switch {
	case Width(s) <= width:
		return s
	case width <= 0:
		return ""
	}
	return cells.Truncate(s, width, Mark)
}
