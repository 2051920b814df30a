package readable

import (
	"net/netip"
	"strconv"
	"time"
)

// AppendAge appends a duration in the two units that matter to a person: 250ms,
// 31s, 4m12s, 3h5m, 2d4h. It rounds down, so that an age never claims more
// than passed. A negative duration is not known and gives "-".
func AppendAge(dst []byte, d time.Duration) []byte {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return append(dst, '-')
	case d < time.Second:
		return append(strconv.AppendInt(dst, d.Milliseconds(), 10), "ms"...)
	case d < time.Minute:
		return append(strconv.AppendInt(dst, int64(d/time.Second), 10), 's')
	case d < time.Hour:
		return appendTwo(dst, int64(d/time.Minute), 'm', int64(d%time.Minute/time.Second), 's')
	case d < day:
		return appendTwo(dst, int64(d/time.Hour), 'h', int64(d%time.Hour/time.Minute), 'm')
	}
	return appendTwo(dst, int64(d/day), 'd', int64(d%day/time.Hour), 'h')
}

// Age is AppendAge as a string.
func Age(d time.Duration) string { return string(AppendAge(nil, d)) }

func appendTwo(dst []byte, big int64, bigUnit byte, small int64, smallUnit byte) []byte {
	dst = append(strconv.AppendInt(dst, big, 10), bigUnit)
	return append(strconv.AppendInt(dst, small, 10), smallUnit)
}

// Size returns a number of bytes as AppendSize writes it.
func Size(n uint64) string { return string(AppendSize(nil, n)) }

// AppendSize appends a number of bytes with a binary unit: 812 B, 12.1 KiB.
func AppendSize(dst []byte, n uint64) []byte {
	const units = "KMGTPE"
	if n < 1024 {
		return append(strconv.AppendUint(dst, n, 10), " B"...)
	}
	unit, rest := 0, uint64(0)
	for n >= 1024 && unit < len(units) {
		n, rest = n/1024, n%1024
		unit++
	}
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, '.', byte('0'+rest*10/1024), ' ', units[unit-1])
	return append(dst, "iB"...)
}

// AppendAddr appends an address, "-" if there is none. An IPv4-mapped address
// is shown as the IPv4 address it is. A zone is the name of an interface,
// which may be called anything, and is made safe.
func AppendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(dst, '-')
	}
	a = a.Unmap()
	if zone := a.Zone(); zone != "" {
		dst = a.WithZone("").AppendTo(dst)
		return append(append(dst, '%'), Safe(zone, maxZone)...)
	}
	return a.AppendTo(dst)
}

// maxZone holds an interface name (IFNAMSIZ is 16) with every byte escaped.
const maxZone = 64

// AppendAddrPort appends address and port as ss(8) does: 10.0.0.1:443,
// [2001:db8::1]:443, with * for a port that is not known.
func AppendAddrPort(dst []byte, ap netip.AddrPort) []byte {
	if !ap.IsValid() {
		return append(dst, '-')
	}
	a := ap.Addr().Unmap()
	if a.Is4() {
		dst = a.AppendTo(dst)
	} else {
		dst = append(AppendAddr(append(dst, '['), a), ']')
	}
	dst = append(dst, ':')
	if ap.Port() == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(ap.Port()), 10)
}
