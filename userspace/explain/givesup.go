// Package explain says what a finding means: what the kernel will do with the
// socket, and a sentence that a person can act on.
package explain

import (
	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// GivesUp says when the kernel ends the socket by itself, as far as the socket
// alone proves it: a minisocket's timer, and the states that have no timer at
// all. Anything that retransmits or probes depends on settings of its namespace
// and is left unknown here.
func GivesUp(s *flow.Sock) finding.GivesUp {
	if s.TimeWait {
		// net/ipv4/inet_timewait_sock.c, tw_timer_handler
		return finding.GivesUp{Known: true, In: max(0, s.Expires)}
	}
	switch s.State {
	case flow.StateCloseWait, flow.StateFinWait2:
		// No timer runs in these states but keepalive's and those of data in
		// flight; an orphan in FIN_WAIT2 has one (net/ipv4/tcp.c, tcp_close).
		if !s.Keepalive && !s.Dead && s.Unacked() == 0 && s.Unsent() == 0 {
			return finding.GivesUp{Known: true, Never: true}
		}
	}
	return finding.GivesUp{}
}
