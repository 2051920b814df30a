package jsonline

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// The functions here append one member of a JSON object. The key argument is a
// literal that already holds comma, quotes and colon, so that a member costs
// one copy and its value.

func appendUint(dst []byte, key string, v uint64) []byte {
	return strconv.AppendUint(append(dst, key...), v, 10)
}

// appendUintIf leaves 0, which means unknown, out.
func appendUintIf(dst []byte, key string, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendUint(dst, key, v)
}

func appendBool(dst []byte, key string, v bool) []byte {
	return strconv.AppendBool(append(dst, key...), v)
}

// appendName appends one of our own names, which need no escaping.
func appendName(dst []byte, key, v string) []byte {
	dst = append(dst, key...)
	dst = append(dst, '"')
	dst = append(dst, v...)
	return append(dst, '"')
}

// appendText appends text from outside, safe and at most limit bytes long
// between its quotes; empty text is unknown and left out.
func appendText(dst []byte, key, v string, limit int) []byte {
	if v == "" {
		return dst
	}
	dst = append(dst, key...)
	dst = append(dst, '"')
	dst = appendEscaped(dst, v, limit)
	return append(dst, '"')
}

// appendEscaped appends s made safe and escaped for JSON. The limit is counted
// after escaping, because it is there to bound the line.
func appendEscaped(dst []byte, s string, limit int) []byte {
	if len(s) <= limit && needsNoEscape(s) {
		return append(dst, s...)
	}
	end := len(dst) + limit
	cut := len(dst)
	for _, r := range readable.Safe(s, limit) {
		if len(dst)+len(readable.Mark) <= end {
			cut = len(dst)
		}
		// Of all that is printable only these two have a meaning in a
		// JSON string (RFC 8259, section 7).
		if r == '"' || r == '\\' {
			dst = append(dst, '\\')
		}
		dst = utf8.AppendRune(dst, r)
		if len(dst) > end {
			return append(dst[:cut], readable.Mark...)
		}
	}
	return dst
}

func needsNoEscape(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendSeconds appends a duration in seconds with up to six decimals:
// microseconds are what the kernel measures round trips in. A negative
// duration is unknown and left out.
func appendSeconds(dst []byte, key string, d time.Duration) []byte {
	if d < 0 {
		return dst
	}
	dst = strconv.AppendInt(append(dst, key...), int64(d/time.Second), 10)
	micros := int64(d % time.Second / time.Microsecond)
	if micros == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(100_000); micros > 0; unit /= 10 {
		dst = append(dst, byte('0'+micros/unit))
		micros %= unit
	}
	return dst
}

// appendTime appends t as RFC 3339 in UTC with exactly nine decimals, between
// quotes. time.RFC3339Nano drops trailing zeros and a custom layout is parsed
// at every call; this takes less than half the time.
func appendTime(dst []byte, key string, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		// RFC 3339 has four digits for the year. A clock that is this
		// wrong must not make the line unreadable.
		t = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		year, month, day = t.Date()
	}
	hour, minute, second := t.Clock()
	dst = append(dst, key...)
	dst = append(dst, '"')
	dst = appendDigits(dst, uint(year), "0000")
	dst = appendDigits(dst, uint(month), "-00")
	dst = appendDigits(dst, uint(day), "-00")
	dst = appendDigits(dst, uint(hour), "T00")
	dst = appendDigits(dst, uint(minute), ":00")
	dst = appendDigits(dst, uint(second), ":00")
	dst = appendDigits(dst, uint(t.Nanosecond()), ".000000000")
	return append(dst, 'Z', '"')
}

// appendDigits appends form with n written over its zeros from the right.
func appendDigits(dst []byte, n uint, form string) []byte {
	dst = append(dst, form...)
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// appendAddrPort appends address and port under their own keys. What is not
// known is left out: no address at all, an unspecified peer, port 0.
func appendAddrPort(dst []byte, addrKey, portKey string, ap netip.AddrPort, local bool) []byte {
	addr := ap.Addr().Unmap()
	// A listener's local address is unspecified and true; a peer's is not
	// set yet.
	if addr.IsValid() && (!addr.IsUnspecified() || (local && ap.Port() != 0)) {
		if addr.Zone() == "" {
			dst = append(dst, addrKey...)
			dst = append(dst, '"')
			dst = append(addr.AppendTo(dst), '"')
		} else {
			// The zone is an interface's name, and that may hold quotes.
			dst = appendText(dst, addrKey, string(readable.AppendAddr(nil, addr)), maxAddr)
		}
	}
	return appendUintIf(dst, portKey, uint64(ap.Port()))
}
