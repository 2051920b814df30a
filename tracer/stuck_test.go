package tracer

import (
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// stuck is a socket that a test left in a state, and what it knows of it.
type stuck struct {
	// socket is nil where the process has closed it.
	*socket
	state       flow.State
	local, peer netip.AddrPort
	// cookie is the one the socket had when it was still ours.
	cookie uint64
	role   flow.Role
	// mine is set where the change of state was this process's own doing.
	mine bool
	// timewait is set where a minisocket stands in for the socket.
	timewait bool
	// orphan is set where the process has closed the socket.
	orphan bool
}

// recipe makes a socket that stays in a state.
type recipe struct {
	name string
	make func(testing.TB, family) stuck
}

var recipes = []recipe{
	{"syn_sent", makeSynSent},
	{"close_wait", makeCloseWait},
	{"fin_wait_2 half closed", makeHalfClosed},
	{"fin_wait_2 orphaned", makeOrphan},
	{"fin_wait_1", makeFinWait1},
	{"last_ack", makeLastAck},
}

func makeSynSent(t testing.TB, f family) stuck {
	to := silent(t, f)
	s := begin(t, f, to)
	return stuck{
		socket: s, state: flow.StateSynSent, cookie: s.cookie, role: flow.RoleClient, mine: true,
		local: unmapped(s.local()), peer: unmapped(to),
	}
}

func makeCloseWait(t testing.TB, f family) stuck {
	client, server := pair(t, f)
	st := stuck{
		socket: server, state: flow.StateCloseWait, cookie: server.cookie,
		local: unmapped(server.local()), peer: unmapped(client.local()),
	}
	client.shutdown()
	server.in(flow.StateCloseWait)
	return st
}

func makeHalfClosed(t testing.TB, f family) stuck {
	client, server := pair(t, f)
	client.shutdown()
	client.in(flow.StateFinWait2)
	return stuck{
		socket: client, state: flow.StateFinWait2, cookie: client.cookie, role: flow.RoleClient, mine: true,
		local: unmapped(client.local()), peer: unmapped(server.local()),
	}
}

func makeOrphan(t testing.TB, f family) stuck {
	client, server := pair(t, f)
	st := stuck{
		state: flow.StateFinWait2, cookie: client.cookie, mine: true, timewait: true, orphan: true,
		local: unmapped(client.local()), peer: unmapped(server.local()),
	}
	client.close()
	witnessedIn(t, st.local, st.peer, st.state)
	return st
}

// A FIN waits behind data that the peer has no room for.
func makeFinWait1(t testing.TB, f family) stuck {
	client, server := pair(t, f)
	client.fill()
	st := stuck{
		state: flow.StateFinWait1, cookie: client.cookie, role: flow.RoleClient, mine: true, orphan: true,
		local: unmapped(client.local()), peer: unmapped(server.local()),
	}
	client.close()
	return st
}

func makeLastAck(t testing.TB, f family) stuck {
	client, server := pair(t, f)
	server.fill()
	client.shutdown()
	server.in(flow.StateCloseWait)
	st := stuck{
		state: flow.StateLastAck, cookie: server.cookie, mine: true, orphan: true,
		local: unmapped(server.local()), peer: unmapped(client.local()),
	}
	server.close()
	return st
}

// is tells whether a socket that was read is the one that was made.
func (st *stuck) is(s *flow.Sock) bool {
	return s.Local == st.local && s.Peer == st.peer && s.State == st.state
}
