package callstack

import (
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Candidate is a stack that may be said with a finding, and whose it was.
type Candidate struct {
	Of        finding.StackOf
	ID        flow.StackID
	Goroutine flow.Goroutine
}

// Candidates are the stacks of a socket, the most telling first: who read the end
// of file did not close, who opened the socket may have handed it on.
func Candidates(k finding.Kind, known flow.SocketStacks) []Candidate {
	var out []Candidate
	opener := Candidate{Of: finding.StackConnect, ID: known.Opener, Goroutine: known.Goroutine}
	if known.Accepted {
		opener.Of = finding.StackAccept
	}
	if known.Reader != flow.StackNone {
		opener.Goroutine = flow.Goroutine{}
		if k == finding.CloseWaitSilent {
			out = append(out, Candidate{finding.StackEOFRead, known.Reader, known.Goroutine})
		}
	}
	if opener.ID != flow.StackNone {
		out = append(out, opener)
	}
	return out
}
