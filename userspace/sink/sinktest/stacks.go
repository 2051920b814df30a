package sinktest

import (
	"fmt"
	"math"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// stackSamples are findings with a stack, with one that tells little, and without.
func stackSamples() []Sample {
	read, opened, none := closeWait(), synSent(), closeWait()
	read.Stack = &finding.Stack{Of: finding.StackEOFRead, Frames: []finding.Frame{
		{Function: "internal/poll.(*FD).Read", File: "/usr/local/go/src/internal/poll/fd_unix.go", Line: 165, Module: "api", Plumbing: true},
		{Function: "net.(*conn).Read", File: "/usr/local/go/src/net/net.go", Line: 196, Module: "api", Plumbing: true},
		{Function: "main.handleUpload", File: "/src/api/upload.go", Line: 42, Module: "api"},
		{Module: "plugin.so", Offset: 0x1a2b},
		{Function: "main.main.gowrap1", File: "/src/api/main.go", Line: 7, Module: "api"},
		{Function: "runtime.goexit", File: "/usr/local/go/src/runtime/asm_amd64.s", Line: 1700, Module: "api", Plumbing: true},
	}}
	read.Stack.Goroutine = 34
	read.Stack.MadeBy = &finding.Frame{Function: "net/http.(*Server).Serve", File: "/usr/local/go/src/net/http/server.go", Line: 3454, Module: "api"}
	opened.Stack = &finding.Stack{
		Of: finding.StackConnect, Missing: finding.MissingNoFramePointers,
		Frames: []finding.Frame{{Function: "connect", Module: "libc.so.6", Offset: 0x10a3b4, Plumbing: true}},
	}
	none.Stack = &finding.Stack{Missing: finding.MissingOlder}
	return []Sample{{"close_wait_stack", read}, {"syn_sent_no_frame_pointers", opened}, {"close_wait_no_stack", none}}
}

// LongStack is a stack of frames that are as long as they can be.
func LongStack(text string) *finding.Stack {
	s := &finding.Stack{Of: finding.StackEOFRead}
	for i := range 200 {
		s.Frames = append(s.Frames,
			finding.Frame{Function: text + fmt.Sprint(i), File: "/" + text, Line: math.MaxInt64, Module: text, Offset: math.MaxUint64},
			finding.Frame{Module: text, Offset: math.MaxUint64})
	}
	return s
}
