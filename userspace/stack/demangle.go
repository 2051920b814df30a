package stack

import (
	"strings"
	"unicode/utf8"

	"github.com/ianlancetaylor/demangle"
)

const (
	// maxMangled is how long a name may be to be demangled: templates nest, and
	// so does the work.
	maxMangled = 2048
	// maxFunction is how long a name is that is shown, in bytes.
	maxFunction = 512
	// demangledPower makes 1 KB the most that demangling writes.
	demangledPower = 10
)

// demangled returns the name of a C++ or Rust function as its programmer wrote
// it, without parameters; other names as they are. It is cut to maxFunction.
func demangled(name string) string {
	if len(name) <= maxMangled && (strings.HasPrefix(name, "_Z") || strings.HasPrefix(name, "_R")) {
		if plain, err := demangle.ToString(name, demangle.NoParams, demangle.NoEnclosingParams, demangle.MaxLength(demangledPower)); err == nil {
			name = plain
		}
	}
	return cut(name, maxFunction)
}

// cut shortens a text to at most limit bytes, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
