package config

import (
	"net/netip"
	"testing"
)

func TestPprof(t *testing.T) {
	tests := []struct {
		text string
		mode PprofMode
		addr string
	}{
		{"off", PprofOff, ""},
		{"auto", PprofAuto, ""},
		{":6060", PprofAddress, "127.0.0.1:6060"},
		{"localhost:6060", PprofAddress, "127.0.0.1:6060"},
		{"[::1]:6060", PprofAddress, "[::1]:6060"},
		{"[::ffff:10.0.0.1]:6060", PprofAddress, "10.0.0.1:6060"},
	}
	for _, tt := range tests {
		r := &Run{}
		if err := setPprof(r, tt.text); err != nil {
			t.Errorf("%q: %v", tt.text, err)
		}
		want := netip.AddrPort{}
		if tt.addr != "" {
			want = netip.MustParseAddrPort(tt.addr)
		}
		if r.Pprof != tt.mode || r.PprofAddress != want {
			t.Errorf("%q is %v at %v", tt.text, r.Pprof, r.PprofAddress)
		}
	}
	for _, text := range []string{"", "on", "6060", "example.com:6060", "0.0.0.0:6060", ":0", ":65536", ":http", "[fe80::1%eth0]:80"} {
		if err := setPprof(&Run{}, text); err == nil {
			t.Errorf("%q is allowed", text)
		}
	}
}
