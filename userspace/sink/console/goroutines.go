package console

import (
	"strconv"

	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// goroutinesOf says what the program said of its goroutines.
func goroutinesOf(g *finding.Goroutines) string {
	switch {
	case g == nil:
		return ""
	case g.Missing != "":
		return "no goroutine profile: " + g.Missing
	}
	s := strconv.FormatInt(g.Total, 10) + " goroutines"
	if g.Function != "" {
		s += ": " + strconv.FormatInt(g.Matching, 10) + " in " + readable.Safe(g.Function, maxName)
	}
	if g.Parked.Function != "" {
		s += ": most wait in " + explain.Place(&g.Parked)
	}
	return s
}
