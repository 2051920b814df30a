package pprof

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func procOf(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

func TestListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
   2: zz000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 100 0 0 10 0
   4: 0100007F:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1 0000000000000000 100 0 0 10 0
`
	const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1770 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1
   1: B80D0120000000000000000001000000:1771 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1
   2: 0000000000000000FFFF00000100007F:1772 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1
`
	got := append(parseListeners(strings.NewReader(table)), parseListeners(strings.NewReader(table6))...)
	want := []listener{
		{netip.MustParseAddrPort("127.0.0.1:8080"), 11, false},
		{netip.MustParseAddrPort("0.0.0.0:80"), 12, true},
		{netip.MustParseAddrPort("[::]:6000"), 21, false},
		{netip.MustParseAddrPort("[2001:db8::1]:6001"), 22, false},
		{netip.MustParseAddrPort("127.0.0.1:6002"), 23, false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("listeners %v", got)
	}
}

func TestReach(t *testing.T) {
	any, one := netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:80")
	at := func(addr string, inode uint64) listener {
		return listener{at: netip.MustParseAddrPort(addr), inode: inode}
	}
	tests := []struct {
		name   string
		mine   listener
		others []listener
		want   string
		only   netip.AddrPort
	}{
		{"loopback", at("127.0.0.1:80", 1), nil, "127.0.0.1:80", any},
		{"one address", at("10.0.0.1:80", 1), nil, "10.0.0.1:80", any},
		{"all addresses", at("0.0.0.0:80", 1), nil, "127.0.0.1:80", any},
		{"all IPv6 addresses", at("[::]:80", 1), nil, "[::1]:80 127.0.0.1:80", any},
		{"another at another port", at("0.0.0.0:80", 1), []listener{at("127.0.0.1:81", 2)}, "127.0.0.1:80", any},
		{"another at a nearer address", at("0.0.0.0:80", 1), []listener{at("127.0.0.1:80", 2)}, "", any},
		{"another at an address that is not asked at", at("0.0.0.0:80", 1), []listener{at("10.0.0.1:80", 2)}, "127.0.0.1:80", any},
		{"another by SO_REUSEPORT", at("0.0.0.0:80", 1), []listener{at("0.0.0.0:80", 2)}, "", any},
		{"another by SO_REUSEPORT at one address", at("10.0.0.1:80", 1), []listener{at("10.0.0.1:80", 2)}, "", any},
		{"another takes IPv4", at("[::]:80", 1), []listener{at("0.0.0.0:80", 2)}, "[::1]:80", any},
		{"another takes all IPv4, and not this one", at("127.0.0.1:80", 1), []listener{at("0.0.0.0:80", 2)}, "127.0.0.1:80", any},
		{"a second one of its own", at("0.0.0.0:80", 1), []listener{at("0.0.0.0:80", 1)}, "127.0.0.1:80", any},
		{"the address asked for", at("10.0.0.1:80", 1), nil, "10.0.0.1:80", one},
		{"all addresses, one asked for", at("[::]:80", 1), nil, "10.0.0.1:80", one},
		{"all IPv4 addresses, one asked for", at("0.0.0.0:80", 1), nil, "10.0.0.1:80", one},
		{"another address than the one asked for", at("127.0.0.1:80", 1), nil, "", one},
		{"another port than the one asked for", at("10.0.0.1:81", 1), nil, "", one},
		{"all IPv4 addresses, an IPv6 one asked for", at("0.0.0.0:80", 1), nil, "", netip.MustParseAddrPort("[::1]:80")},
	}
	for _, tt := range tests {
		var got []string
		for _, to := range tt.mine.reachedBy(tt.only) {
			if !contested(tt.mine, to, append(tt.others, tt.mine), map[uint64]bool{1: true}) {
				got = append(got, to.String())
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}

// This process's own listener is found, whatever else it has open.
func TestOwnListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := listenersOf("/proc/self", netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(got, netip.MustParseAddrPort(l.Addr().String())) {
		t.Errorf("listeners %v, want %v among them", got, l.Addr())
	}
}

func FuzzListeners(f *testing.F) {
	f.Add("heading\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseListeners(strings.NewReader(text)) {
			if !l.at.IsValid() || l.at.Port() == 0 {
				t.Errorf("listener %+v", l)
			}
		}
	})
}
