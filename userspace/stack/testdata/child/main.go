// The child is a program that says where it is: it writes its own stack, as
// the runtime sees it, and waits.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

type frame struct {
	PC       uint64
	Function string
	File     string
	Line     int
}

type shelf[T any] struct{ items []T }

// each is generic, and inlined.
func (s shelf[T]) each(fn func(T)) {
	for _, i := range s.items {
		fn(i)
	}
}

type speaker interface{ speak() }

type embedded struct{ loud }

type loud struct{ to io.Writer }

//go:noinline
func (l loud) speak() { outer(l.to) }

func outer(w io.Writer) { inner(w) }

func inner(w io.Writer) {
	pcs := make([]uintptr, 100)
	pcs = pcs[:runtime.Callers(1, pcs)]
	var out []frame
	for _, pc := range pcs {
		f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
		out = append(out, frame{uint64(pc), f.Function, f.File, f.Line})
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var s speaker = embedded{loud{os.Stdout}}
	shelf[speaker]{[]speaker{s}}.each(func(s speaker) { s.speak() })
	_, _ = io.Copy(io.Discard, os.Stdin)
}
