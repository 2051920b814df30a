package rules

// Glob is a pattern in which * stands for any run of characters, slashes included, and
// ? for any one byte. All other characters stand for themselves.
type Glob string

// Matches reports whether text is one of those that the pattern describes. It takes at
// most the product of the two lengths, whatever they are made of.
func (g Glob) Matches(text string) bool {
	return g.walk(text, func(p, c byte) bool { return p == c || p == '?' })
}

// covers reports whether all that other describes g describes too. It may say no where
// that is so, never yes where it is not: a star of other is a sign that only a star of
// g stands for.
func (g Glob) covers(other Glob) bool {
	return g.walk(string(other), func(p, c byte) bool { return p == c && p != '*' || p == '?' && c != '*' })
}

// walk goes through pattern and text, and back to the last star where they differ.
func (g Glob) walk(text string, same func(p, c byte) bool) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(g) && g[p] == '*':
			star, mark = p, t
			p++
		case p < len(g) && same(g[p], text[t]):
			p, t = p+1, t+1
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(g) && g[p] == '*' {
		p++
	}
	return p == len(g)
}
