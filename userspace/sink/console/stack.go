package console

import (
	"fmt"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/explain"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// maxFrames is how many functions of a stack a person is shown; the JSON line has
// all that fit.
const maxFrames = 4

// stackOf says which functions led to the socket, the innermost first, without
// what only carries their data; or why that is not known.
func stackOf(s *finding.Stack) string {
	if s == nil {
		return ""
	}
	var names []string
	for i := range s.Frames {
		if !s.Frames[i].Plumbing {
			names = append(names, explain.Place(&s.Frames[i]))
		}
	}
	switch {
	case len(names) > maxFrames:
		names = append(names[:maxFrames], "…")
	case len(names) == 0 && s.Missing != "":
		return "no stack: " + s.Missing
	case len(names) == 0:
		return ""
	}
	return s.Of.String() + " stack " + strings.Join(names, " < ") + goroutineOf(s)
}

func goroutineOf(s *finding.Stack) string {
	if s.Goroutine == 0 {
		return ""
	}
	text := fmt.Sprintf(", goroutine %d", s.Goroutine)
	if s.MadeBy != nil {
		text += " made by " + explain.Place(s.MadeBy)
	}
	return text
}
