package listing

import (
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// passing is how long a healthy connection may take through a state; younger
// sockets are listed only if somebody asks for states, ages or all.
const passing = 250 * time.Millisecond

// passes tells what is only passing. Nothing proves how long a peer has closed
// its window to what is left to send, but that is not passing.
func (f *Filter) passes(s *flow.Sock) bool {
	if f.All || f.States != 0 || f.OlderThan != 0 || s.State == flow.StateEstablished {
		return false
	}
	blocked := finding.KindOf(s.State) == finding.ClosingStalled && s.SendWindow == 0 && s.Unsent() > 0
	// Before 6.14 a minisocket does not say how long it has been standing.
	ageless := s.TimeWait && s.Waiting < 0
	return detect.AgeBound(s) < passing && !blocked && !ageless && !streaming(s)
}

// doubtful tells what may be passing as well: what goes on hides since when.
func (f *Filter) doubtful(s *flow.Sock) bool {
	return !f.All && f.States == 0 && f.OlderThan == 0 && streaming(s) && detect.AgeBound(s) < passing
}

// sending: data left a moment ago although the peer, which sent nothing for
// longer, closed. One reading cannot prove that it left after the close; of all
// reasons it is still the likeliest. The handshake stamps both directions
// (net/ipv4/tcp_output.c, tcp_finish_connect), and an exchange does too.
func sending(s *flow.Sock) bool {
	const apart = passing / 2
	return s.State == flow.StateCloseWait && streaming(s) &&
		s.Retransmits == 0 && s.LastSend >= 0 && s.LastSend < 2*passing && s.LastReceive-s.LastSend >= apart
}

// streaming: one direction was closed and the other goes on, whose ACKs hide for
// how long. The direction that ended has been quiet since, if that is known.
func streaming(s *flow.Sock) bool {
	switch s.State {
	case flow.StateCloseWait:
		return s.HasSocket && quiet(s.LastReceive)
	case flow.StateFinWait2:
		return s.HasSocket && quiet(s.LastSend)
	}
	return false
}

func quiet(last time.Duration) bool { return last < 0 || last >= passing }
