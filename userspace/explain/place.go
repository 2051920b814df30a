package explain

import (
	"fmt"
	"path"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

const (
	// functionMax and fileMax bound what a sentence says of a place in the code;
	// the record has more.
	functionMax = 80
	fileMax     = 40
	// sentenceMax is how long a sentence with a place may be: the lines cut longer
	// ones, and their ends tell more.
	sentenceMax = 600
)

// done is what the program did where its stack was taken.
var done = [finding.StackCount]string{
	finding.StackConnect: "connected in",
	finding.StackAccept:  "accepted in",
	finding.StackEOFRead: "end-of-file read in",
}

// withPlace joins the halves of a sentence, and the place in the code between them
// if it fits.
func withPlace(s string, stack *finding.Stack, rest string) string {
	code := place(stack)
	if code == "" || len(s)+len("; ")+len(code)+len(rest) > sentenceMax {
		return s + rest
	}
	return s + "; " + code + rest
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
	name := readable.Safe(withoutPath(f.Function), functionMax)
	if name == "" {
		name = fmt.Sprintf("%s+0x%x", readable.Safe(f.Module, fileMax), f.Offset)
	}
	if f.File == "" || f.Line <= 0 {
		return name
	}
	return fmt.Sprintf("%s (%s:%d)", name, readable.Safe(path.Base(f.File), fileMax), f.Line)
}

// withoutPath takes the directories from a Go function's import path: of
// github.com/acme/api/upload.(*Server).Put it leaves upload.(*Server).Put.
func withoutPath(function string) string {
	name := function
	if i := strings.IndexAny(function, "[(<{ "); i >= 0 {
		name = function[:i]
	}
	return function[strings.LastIndexByte(name, '/')+1:]
}
