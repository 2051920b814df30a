// Package explain says what a finding means: what the kernel will do with the
// socket, and a sentence that a person can act on.
package explain

import (
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/explain/deadline"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// GivesUp says when the kernel ends the socket by itself, if its peer stays as it
// is. Left unknown where that depends on the peer alone.
func GivesUp(s *flow.Sock) finding.GivesUp {
	in, answer := deadline.Of(s)
	switch answer {
	case deadline.Never:
		return finding.GivesUp{Known: true, Never: true}
	case deadline.Ends:
		return finding.GivesUp{Known: true, In: in}
	case deadline.Unknown:
	}
	return finding.GivesUp{}
}
