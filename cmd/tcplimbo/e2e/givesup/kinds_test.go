package givesup

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// kind is one way to be ended by the kernel, or not to be.
type kind struct {
	name  string
	state flow.State
	never bool
	make  func(testing.TB) (local, peer netip.AddrPort)
}

// connected makes a connection and does something to it.
func connected(do func(ours, peer *end)) func(testing.TB) (local, peer netip.AddrPort) {
	return func(t testing.TB) (netip.AddrPort, netip.AddrPort) {
		ours, peer := pair(t)
		local, remote := ours.local(), peer.local()
		do(ours, peer)
		return local, remote
	}
}

func in(e *end, state flow.State) {
	e.t.Helper()
	eventually(e.t, "a socket in "+state.String(), func() bool { return flow.State(e.info().State) == state })
}

func keepalive(e *end)                  { e.set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) }
func userTimeout(ms int) func(*end)     { return func(e *end) { e.tcp(unix.TCP_USER_TIMEOUT, ms) } }
func synCount(n int) func(*end)         { return func(e *end) { e.tcp(unix.TCP_SYNCNT, n) } }
func halfClosed(ours, _ *end)           { ours.shutdown(); in(ours, flow.StateFinWait2) }
func unanswered(ours, peer *end, n int) { peer.deaf(); ours.write(n) }

// closeWait waits for the peer to be acknowledged, too: it would send its end of
// file again.
func closeWait(ours, peer *end) {
	peer.shutdown()
	in(peer, flow.StateFinWait2)
	in(ours, flow.StateCloseWait)
}

// closing makes both ends finish at once: each FIN is lost at first, and then the
// peer's alone comes through, again and again.
func closing(ours, peer *end) {
	ours.deaf()
	peer.deaf()
	ours.shutdown()
	peer.shutdown()
	ours.hear()
	in(ours, flow.StateClosing)
}

// kinds are in limbo under small limits (see small).
var kinds = []kind{
	{"SYN_SENT", flow.StateSynSent, false, connecting()},
	{"SYN_SENT, TCP_SYNCNT", flow.StateSynSent, false, connecting(synCount(1))},
	{"SYN_SENT, TCP_USER_TIMEOUT", flow.StateSynSent, false, connecting(userTimeout(2500))},

	{"ESTABLISHED, unacknowledged", flow.StateEstablished, false, connected(func(ours, peer *end) {
		unanswered(ours, peer, 100)
	})},
	{"ESTABLISHED, unacknowledged, TCP_USER_TIMEOUT", flow.StateEstablished, false, connected(func(ours, peer *end) {
		userTimeout(4000)(ours)
		unanswered(ours, peer, 100)
	})},
	{"ESTABLISHED, window closed, silent", flow.StateEstablished, false, connected(func(ours, peer *end) {
		ours.fill()
		peer.deaf()
	})},
	{"ESTABLISHED, window closed, answered", flow.StateEstablished, true, connected(func(ours, _ *end) { ours.fill() })},
	{"ESTABLISHED, window closed, answered, TCP_USER_TIMEOUT", flow.StateEstablished, false, connected(func(ours, _ *end) {
		userTimeout(4000)(ours)
		ours.fill()
	})},
	{"ESTABLISHED, idle", flow.StateEstablished, true, connected(func(_, _ *end) {})},
	{"ESTABLISHED, keepalive unanswered", flow.StateEstablished, false, connected(func(ours, peer *end) {
		keepalive(ours)
		peer.deaf()
	})},
	{"ESTABLISHED, keepalive unanswered, its own times", flow.StateEstablished, false, connected(func(ours, peer *end) {
		ours.tcp(unix.TCP_KEEPIDLE, 2)
		ours.tcp(unix.TCP_KEEPINTVL, 1)
		ours.tcp(unix.TCP_KEEPCNT, 5)
		keepalive(ours)
		peer.deaf()
	})},
	{"ESTABLISHED, keepalive unanswered, TCP_USER_TIMEOUT", flow.StateEstablished, false, connected(func(ours, peer *end) {
		userTimeout(4500)(ours)
		keepalive(ours)
		peer.deaf()
	})},

	{"FIN_WAIT1, held", flow.StateFinWait1, false, connected(func(ours, peer *end) {
		peer.deaf()
		ours.shutdown()
	})},
	{"FIN_WAIT1, orphan", flow.StateFinWait1, false, connected(func(ours, peer *end) {
		peer.deaf()
		ours.close()
	})},
	{"FIN_WAIT1, orphan, window closed, silent", flow.StateFinWait1, false, connected(func(ours, peer *end) {
		ours.fill()
		peer.deaf()
		ours.close()
	})},
	{"CLOSING, held", flow.StateClosing, false, connected(closing)},
	{"CLOSING, orphan", flow.StateClosing, false, connected(func(ours, peer *end) {
		closing(ours, peer)
		ours.close()
	})},
	{"LAST_ACK", flow.StateLastAck, false, connected(func(ours, peer *end) {
		closeWait(ours, peer)
		peer.deaf()
		ours.close()
	})},

	{"CLOSE_WAIT, idle", flow.StateCloseWait, true, connected(closeWait)},
	{"CLOSE_WAIT, unacknowledged", flow.StateCloseWait, false, connected(func(ours, peer *end) {
		closeWait(ours, peer)
		unanswered(ours, peer, 100)
	})},
	{"CLOSE_WAIT, keepalive unanswered", flow.StateCloseWait, false, connected(func(ours, peer *end) {
		closeWait(ours, peer)
		keepalive(ours)
		peer.deaf()
	})},

	{"FIN_WAIT2, half closed", flow.StateFinWait2, true, connected(halfClosed)},
	{"FIN_WAIT2, half closed, keepalive unanswered", flow.StateFinWait2, false, connected(func(ours, peer *end) {
		halfClosed(ours, peer)
		keepalive(ours)
		peer.deaf()
	})},
	{"FIN_WAIT2, minisocket", flow.StateFinWait2, false, connected(func(ours, _ *end) { ours.close() })},
	{"FIN_WAIT2, minisocket, TCP_LINGER2", flow.StateFinWait2, false, connected(func(ours, _ *end) {
		ours.tcp(unix.TCP_LINGER2, 8)
		ours.close()
	})},
	{"FIN_WAIT2, orphan, TCP_LINGER2 above a minute", flow.StateFinWait2, false, connected(func(ours, _ *end) {
		ours.tcp(unix.TCP_LINGER2, 64)
		ours.close()
	})},
}

// bounded are those that the bound on the timeout decides.
var bounded = []kind{
	{"FIN_WAIT1, orphan, window closed, answered", flow.StateFinWait1, false, connected(func(ours, _ *end) {
		ours.fill()
		ours.close()
	})},
	{"FIN_WAIT1, orphan", flow.StateFinWait1, false, connected(func(ours, peer *end) {
		peer.deaf()
		ours.close()
	})},
	{"SYN_SENT", flow.StateSynSent, false, connecting()},
}
