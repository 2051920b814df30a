package detect

import "github.com/tcplimbo/tcplimbo/tracer/flow"

// sameLife reports whether two records of one address are of one connection.
// Cookies tell where both have one; else (5.10, 5.11) addresses and ports do, as
// far as both know them: announcements carry none, and a socket that connects or
// is closed has no local port.
func sameLife(a, b flow.ID) bool {
	if a.Cookie != 0 && b.Cookie != 0 {
		return a.Cookie == b.Cookie
	}
	if a.Peer.Port() == 0 || b.Peer.Port() == 0 {
		return true
	}
	ports := a.Local.Port() == b.Local.Port() || a.Local.Port() == 0 || b.Local.Port() == 0
	return ports && a.Peer == b.Peer && a.NetNS == b.NetNS
}
