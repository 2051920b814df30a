package readable

import "golang.org/x/term"

// defaultWidth is for terminals that do not tell their size, serial lines for
// example.
const defaultWidth = 80

// TerminalWidth returns the width of the terminal at descriptor fd in cells, 0
// if it is not a terminal and lines may be as long as they like. It takes a
// descriptor because os.File.Fd would take a pipe out of non-blocking mode,
// for every process that shares it.
func TerminalWidth(fd int) int {
	if !term.IsTerminal(fd) {
		return 0
	}
	width, _, err := term.GetSize(fd)
	if err != nil || width <= 0 {
		return defaultWidth
	}
	return width
}

// WantsColor reports whether colours may be written to descriptor fd: it is a
// terminal that knows them, and the user did not refuse with NO_COLOR
// (no-color.org: any value that is not empty). getenv is os.Getenv.
func WantsColor(fd int, getenv func(string) string) bool {
	if getenv("NO_COLOR") != "" || getenv("TERM") == "dumb" {
		return false
	}
	return term.IsTerminal(fd)
}
