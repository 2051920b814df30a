package main

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// An empty list says "nothing in limbo" whenever that was the question.
func TestNothing(t *testing.T) {
	const filtered = "nothing in limbo that fits these filters"
	for name, c := range map[string]struct {
		in   listInput
		want string
	}{
		"plain":           {listInput{}, "nothing in limbo"},
		"a namespace":     {listInput{NetNS: 4026531833}, filtered},
		"a process":       {listInput{PID: 1}, filtered},
		"a port":          {listInput{Port: 443}, filtered},
		"an age":          {listInput{OlderThan: time.Minute}, filtered},
		"a limbo state":   {listInput{States: flow.StateCloseWait.Bit()}, filtered},
		"a healthy state": {listInput{States: flow.StateCloseWait.Bit() | flow.StateListen.Bit()}, "no such socket"},
		"established":     {listInput{States: flow.StateEstablished.Bit()}, "no such socket"},
		"all":             {listInput{All: true, PID: 1}, "no such socket"},
	} {
		if got := nothing(&c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
