package explain

import (
	"fmt"
	"path"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

const (
	// functionMax and fileMax bound what a sentence says of a place in the code;
	// the record has more.
	functionMax = 96
	fileMax     = 48
)

// done is what the program did where its stack was taken.
var done = [finding.StackCount]string{
	finding.StackConnect: "connected in",
	finding.StackAccept:  "accepted in",
	finding.StackEOFRead: "end-of-file read in",
}

// place names the first of the program's own functions in a stack, with the line;
// "" if there is nothing to say.
func place(s *finding.Stack) string {
	switch own, ok := s.Own(); {
	case s == nil || done[s.Of] == "":
		return ""
	case ok:
		return done[s.Of] + " " + Place(&own)
	case s.Missing == finding.MissingNoFramePointers:
		return done[s.Of] + " code that shows no callers (no frame pointers)"
	}
	return ""
}

// Place writes a function with file and line: main.serve (serve.go:42).
func Place(f *finding.Frame) string {
	name := readable.Safe(f.Function, functionMax)
	if name == "" {
		name = fmt.Sprintf("%s+0x%x", readable.Safe(f.Module, fileMax), f.Offset)
	}
	if f.File == "" || f.Line <= 0 {
		return name
	}
	return fmt.Sprintf("%s (%s:%d)", name, readable.Safe(path.Base(f.File), fileMax), f.Line)
}
