package readable

import "strings"

// Wrap breaks text between words into lines of at most width cells; a word that
// is longer stands alone on its line. There is always one line, if only an
// empty one.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case Width(line)+1+Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
