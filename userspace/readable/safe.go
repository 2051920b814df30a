// Package readable turns values into text that people read: names that came
// from outside made harmless, ages, sizes, addresses, and what a terminal can
// show of them. It knows nothing of findings.
package readable

import (
	"unicode"
	"unicode/utf8"
)

// Mark stands where text was cut.
const Mark = "…"

// Safe returns s as text that can stand in a line of a terminal, a log or a
// page. A program chooses its comm and its path, so both are data: what is not
// valid UTF-8 becomes U+FFFD, and everything that does not print (control
// characters, bidi and other format characters, line and paragraph separators,
// invisible fillers, spaces that are not the ASCII one) is shown as an escape
// like \x1b or \u202e. The result is at most limit bytes long; cut text ends
// in Mark. Backslashes stay as they are, so that Safe of a safe text is the
// text itself.
func Safe(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	var stack [128]byte
	out := stack[:0]
	// cut is the last length at which the mark still fits.
	cut := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if len(out)+len(Mark) <= limit {
			cut = len(out)
		}
		if Printable(r) {
			out = utf8.AppendRune(out, r)
		} else {
			out = appendEscape(out, r)
		}
		if len(out) > limit {
			return string(appendMark(out[:cut], limit))
		}
	}
	return string(out)
}

// appendMark appends Mark unless even that is too long for the limit.
func appendMark(dst []byte, limit int) []byte {
	if len(dst)+len(Mark) > limit {
		return dst
	}
	return append(dst, Mark...)
}

// Printable reports whether r may stand in a line as it is.
func Printable(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r < 0x7f
	}
	// Fillers and variation selectors count as letters and marks and yet
	// show nothing: two different names would look the same.
	return unicode.IsPrint(r) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

const hexDigits = "0123456789abcdef"

// appendEscape appends \xNN, \uNNNN or \UNNNNNNNN, the shortest that holds r.
func appendEscape(dst []byte, r rune) []byte {
	letter, digits := byte('U'), 8
	switch {
	case r < 0x100:
		letter, digits = 'x', 2
	case r < 0x10000:
		letter, digits = 'u', 4
	}
	dst = append(dst, '\\', letter)
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[r>>shift&0xf])
	}
	return dst
}
