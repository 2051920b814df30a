package pprof

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxListeners is how many listening sockets of a network namespace are
	// looked at, maxTried at how many of a program's it is asked.
	maxListeners = 4096
	maxTried     = 8
	// maxFiles is how many descriptors of a program are looked at. Programs
	// begin to listen before they leak, and descriptors are listed in order.
	maxFiles = 16 << 10
)

// listener is a socket that listens.
type listener struct {
	at    netip.AddrPort
	inode uint64
	// busy: connections wait to be accepted, and one more would only join them.
	busy bool
}

// listenersOf returns the addresses at which a process, and no other one, takes
// connections, in the order of its network namespace's table; if only is valid, that
// one or none.
func listenersOf(proc string, only netip.AddrPort) ([]netip.AddrPort, error) {
	var all []listener
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(proc + "/net/" + name)
		if os.IsNotExist(err) && name == "tcp6" {
			continue // IPv6 is turned off
		}
		if err != nil {
			return nil, err
		}
		all = append(all, parseListeners(f)...)
		f.Close()
	}
	mine, err := socketsOf(proc, all)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, l := range all {
		if !mine[l.inode] || l.busy {
			continue
		}
		for _, to := range l.reachedBy(only) {
			if !contested(l, to, all, mine) && !slices.Contains(out, to) {
				out = append(out, to)
			}
		}
	}
	return out, nil
}

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// reachedBy returns addresses that lead to a listener from its own host; if only is
// valid, that one if it does.
func (l *listener) reachedBy(only netip.AddrPort) []netip.AddrPort {
	addr, port := l.at.Addr(), l.at.Port()
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, port) }
	switch {
	case only.IsValid():
		covers := addr == only.Addr() || addr.IsUnspecified() && (addr.Is6() || only.Addr().Is4())
		if port != only.Port() || !covers {
			return nil
		}
		return []netip.AddrPort{only}
	case !addr.IsUnspecified():
		return []netip.AddrPort{l.at}
	case addr.Is4():
		return []netip.AddrPort{at(loopback4)}
	}
	// IPv6 may be turned off on loopback, and the listener may take no IPv4.
	return []netip.AddrPort{at(loopback6), at(loopback4)}
}

// contested reports whether a connection to a listener could come to another
// process: one that listens at the same port by SO_REUSEPORT, or at an address as near
// or nearer.
func contested(l listener, to netip.AddrPort, all []listener, mine map[uint64]bool) bool {
	return slices.ContainsFunc(all, func(other listener) bool {
		if mine[other.inode] || other.at.Port() != to.Port() {
			return false
		}
		addr := other.at.Addr()
		return addr == to.Addr() || addr == l.at.Addr() || addr.IsUnspecified() && addr.Is4() && to.Addr().Is4() && l.at.Addr().IsUnspecified()
	})
}

// parseListeners reads /proc/PID/net/tcp or tcp6 as far as sockets listen. The
// kernel lists those first (net/ipv4/tcp_ipv4.c, tcp_get_idx), so the table of a busy host is not
// read to its end.
func parseListeners(r io.Reader) []listener {
	var out []listener
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() && len(out) < maxListeners {
		fields := bytes.Fields(lines.Bytes())
		const listens = "0A"
		if len(fields) < 10 || string(fields[3]) != listens {
			break
		}
		at, ok := parseAddress(string(fields[1]))
		inode, err := strconv.ParseUint(string(fields[9]), 10, 64)
		if ok && err == nil {
			// Of a listener, the receive queue counts connections that wait to
			// be accepted (net/ipv4/tcp_ipv4.c, get_tcp4_sock).
			_, waiting, _ := strings.Cut(string(fields[4]), ":")
			out = append(out, listener{at, inode, strings.Trim(waiting, "0") != ""})
		}
	}
	return out
}

// parseAddress reads an address as four-byte words in the host's order, which
// is little endian on all machines that the agent is built for, and a port.
func parseAddress(text string) (netip.AddrPort, bool) {
	words, number, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(words)
	port, portErr := strconv.ParseUint(number, 16, 16)
	if err != nil || portErr != nil || port == 0 || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for ; len(words) > 0; words = words[8:] {
		w := b[len(b)-len(words)/2:][:4]
		w[0], w[1], w[2], w[3] = w[3], w[2], w[1], w[0]
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}

// socketsOf returns which of the listeners a process has descriptors of.
func socketsOf(proc string, all []listener) (map[uint64]bool, error) {
	wanted := make(map[uint64]bool, len(all))
	for _, l := range all {
		wanted[l.inode] = true
	}
	dir, err := os.Open(proc + "/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	mine := make(map[uint64]bool)
	for seen := 0; seen < maxFiles && len(mine) < len(wanted); {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			target, _ := os.Readlink(proc + "/fd/" + name)
			number, isSocket := strings.CutPrefix(target, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if isSocket && err == nil && wanted[inode] {
				mine[inode] = true
			}
		}
		if seen += len(names); err != nil || len(names) == 0 {
			break
		}
	}
	return mine, nil
}
