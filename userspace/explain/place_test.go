package explain

import (
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func TestPlace(t *testing.T) {
	plumbing := finding.Frame{Function: "net.(*conn).Read", File: "/go/net.go", Line: 9, Plumbing: true}
	own := finding.Frame{Function: "github.com/acme/api/upload.(*Server).Put", File: "/src/upload/put.go", Line: 42}
	for _, tt := range []struct {
		name  string
		stack *finding.Stack
		want  string
	}{
		{"off", nil, ""},
		{"none", &finding.Stack{Missing: finding.MissingOverBudget}, ""},
		{"connect", &finding.Stack{Of: finding.StackConnect, Frames: []finding.Frame{plumbing, own}}, "connected in upload.(*Server).Put (put.go:42)"},
		{"accept", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{own}}, "accepted in upload.(*Server).Put (put.go:42)"},
		{"end of file", &finding.Stack{Of: finding.StackEOFRead, Frames: []finding.Frame{own}}, "end-of-file read in upload.(*Server).Put (put.go:42)"},
		{"no line", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Function: "serve"}}}, "accepted in serve"},
		{"no file, but a line", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Function: "serve", Line: 3}}}, "accepted in serve"},
		{"only plumbing", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{plumbing}}, ""},
		{
			"no frame pointers", &finding.Stack{Of: finding.StackConnect, Frames: []finding.Frame{plumbing}, Missing: finding.MissingNoFramePointers},
			"connected in code that shows no callers (no frame pointers)",
		},
		{"no symbols", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Module: "a.so", Offset: 255}}}, ""},
		{"type arguments", &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Function: "a/b.F[c/d.T]"}}}, "accepted in b.F[c/d.T]"},
		{"not asked", &finding.Stack{Frames: []finding.Frame{own}}, ""},
	} {
		if got := place(tt.stack); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	module := finding.Frame{Module: "a.so", Offset: 255}
	if got := Place(&module); got != "a.so+0xff" {
		t.Errorf("a frame without a name is %q", got)
	}
}

// Where the place in the code does not fit, the end of the sentence stays.
func TestPlaceLeavesRoom(t *testing.T) {
	stack := &finding.Stack{Of: finding.StackAccept, Frames: []finding.Frame{{Function: "main.serve", File: "serve.go", Line: 7}}}
	if got := withPlace("held", stack, "; for ever"); got != "held; accepted in main.serve (serve.go:7); for ever" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("x", sentenceMax-20)
	if got := withPlace(long, stack, "; for ever"); got != long+"; for ever" {
		t.Errorf("got %q", got)
	}
}
