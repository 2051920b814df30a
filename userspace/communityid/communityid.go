// Package communityid computes Community IDs: short names of connections that
// come out the same at both ends, on every host and in every tool that knows
// them (Zeek, Suricata, Wireshark …). The records of two hosts are joined by
// them. See github.com/corelight/community-id-spec, version 1.
package communityid

import (
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // the specification's hash; nothing is protected by it
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// Size is the length of every ID in bytes.
const Size = len(version) + (sha1.Size+2)/3*4

const version = "1:"

// protocol is IPPROTO_TCP; a zero byte pads it.
const protocol = 6

// maxTuple holds the seed, two IPv6 addresses, protocol, padding and two ports.
const maxTuple = 2 + 2*16 + 2 + 2*2

// Append appends the Community ID of the TCP connection between a and b, with
// the default seed 0, and returns the extended buffer. The order of a and b does
// not matter. IPv4-mapped IPv6 addresses are IPv4, zones are not part of it. It
// appends nothing where no connection is named: an address that is missing,
// unspecified or of the other family, or a port 0, which is what a socket has
// before the kernel chose its source port. It does not allocate.
func Append(dst []byte, a, b netip.AddrPort) []byte {
	a, b = plain(a), plain(b)
	if !named(a) || !named(b) || a.Addr().Is4() != b.Addr().Is4() {
		return dst
	}
	// AddrPort orders by address, then by port, as the specification does.
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	var room [maxTuple]byte
	sum := hash(tuple(room[:0], a, b))
	return base64.StdEncoding.AppendEncode(append(dst, version...), sum[:])
}

func plain(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

func named(ap netip.AddrPort) bool {
	return ap.Addr().IsValid() && !ap.Addr().IsUnspecified() && ap.Port() != 0
}

// tuple appends what is hashed, in network byte order.
func tuple(dst []byte, low, high netip.AddrPort) []byte {
	dst = append(dst, 0, 0) // the seed
	dst = appendAddr(dst, low.Addr())
	dst = appendAddr(dst, high.Addr())
	dst = append(dst, protocol, 0)
	dst = binary.BigEndian.AppendUint16(dst, low.Port())
	return binary.BigEndian.AppendUint16(dst, high.Port())
}

func appendAddr(dst []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		four := addr.As4()
		return append(dst, four[:]...)
	}
	sixteen := addr.As16()
	return append(dst, sixteen[:]...)
}

// hash is SHA-1. Under GODEBUG=fips140=only it panics as a cryptographic hash;
// here it is a checksum, and no reason to end the agent.
func hash(data []byte) [sha1.Size]byte {
	if !fips140.Enforced() {
		return sha1.Sum(data)
	}
	return unenforced(data)
}

func unenforced(data []byte) (sum [sha1.Size]byte) {
	copied := append([]byte(nil), data...)
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(copied) })
	return sum
}
