package readable

import (
	"math"
	"net/netip"
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		in   time.Duration
		want string
	}{
		{-1, "-"},
		{0, "0ms"},
		{250*time.Millisecond + 999*time.Microsecond, "250ms"},
		{time.Second, "1s"},
		{31*time.Second + 999*time.Millisecond, "31s"},
		{time.Minute, "1m0s"},
		{4*time.Minute + 12*time.Second, "4m12s"},
		{3*time.Hour + 5*time.Minute + 59*time.Second, "3h5m"},
		{2*day + 4*time.Hour, "2d4h"},
		{400 * day, "400d0h"},
		{math.MaxInt64, "106751d23h"},
	} {
		if got := Age(tc.in); got != tc.want {
			t.Errorf("Age(%d) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestAppendSize(t *testing.T) {
	for _, tc := range []struct {
		in   uint64
		want string
	}{
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{12_400, "12.1 KiB"},
		{3_565_158, "3.3 MiB"},
		{math.MaxUint32, "3.9 GiB"},
		{math.MaxUint64, "15.9 EiB"},
	} {
		if got := string(AppendSize(nil, tc.in)); got != tc.want {
			t.Errorf("AppendSize(%d) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestAppendAddrPort(t *testing.T) {
	zone := netip.MustParseAddr("fe80::1").WithZone("e\x1b\"0")
	for _, tc := range []struct {
		in   netip.AddrPort
		want string
	}{
		{netip.AddrPort{}, "-"},
		{netip.MustParseAddrPort("10.0.0.1:443"), "10.0.0.1:443"},
		{netip.MustParseAddrPort("[2001:db8::1]:443"), "[2001:db8::1]:443"},
		{netip.MustParseAddrPort("[::ffff:10.0.0.1]:443"), "10.0.0.1:443"},
		{netip.MustParseAddrPort("0.0.0.0:0"), "0.0.0.0:*"},
		{netip.AddrPortFrom(zone, 80), `[fe80::1%e\x1b"0]:80`},
	} {
		if got := string(AppendAddrPort(nil, tc.in)); got != tc.want {
			t.Errorf("AppendAddrPort(%v) = %q, want %q", tc.in, got, tc.want)
		}
	}
	if got := string(AppendAddr(nil, netip.Addr{})); got != "-" {
		t.Errorf("no address = %q, want -", got)
	}
	if got := string(AppendAddr(nil, netip.MustParseAddr("::ffff:1.2.3.4"))); got != "1.2.3.4" {
		t.Errorf("mapped address = %q, want 1.2.3.4", got)
	}
}
