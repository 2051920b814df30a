package communityid

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// vectors are the lines of the specification's baseline/baseline_deflt.json
// whose protocol has ports.
var vectors = []struct {
	protocol byte
	src, dst string
	want     string
}{
	{6, "[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
	{6, "[2607:f8b0:400c:c03::1a]:25", "[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
	{6, "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
	{6, "66.35.250.204:80", "128.232.110.120:34855", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
	{17, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
	{17, "8.8.8.8:53", "192.168.1.52:54585", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
	{132, "192.168.170.8:7", "192.168.170.56:7", "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="},
	{132, "192.168.170.56:7", "192.168.170.8:7", "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="},
}

// byTheBook follows the specification's pseudo code step by step.
func byTheBook(protocol byte, src, dst netip.AddrPort) string {
	end := func(ap netip.AddrPort) (addr, port []byte) {
		return ap.Addr().Unmap().AsSlice(), binary.BigEndian.AppendUint16(nil, ap.Port())
	}
	saddr, sport := end(src)
	daddr, dport := end(dst)
	if bytes.Compare(slices.Concat(daddr, dport), slices.Concat(saddr, sport)) < 0 {
		saddr, sport, daddr, dport = daddr, dport, saddr, sport
	}
	sum := sha1.New()
	for _, part := range [][]byte{{0, 0}, saddr, daddr, {protocol, 0}, sport, dport} {
		sum.Write(part)
	}
	return "1:" + base64.StdEncoding.EncodeToString(sum.Sum(nil))
}

func TestPublishedVectors(t *testing.T) {
	for _, v := range vectors {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		if got := byTheBook(v.protocol, src, dst); got != v.want {
			t.Errorf("the test's own form: %s %s = %s, want %s", v.src, v.dst, got, v.want)
		}
		if v.protocol != protocol {
			continue
		}
		got := string(Append([]byte("before "), src, dst))
		if got != "before "+v.want {
			t.Errorf("%s %s = %q, want %q", v.src, v.dst, got, v.want)
		}
		if len(v.want) != Size {
			t.Errorf("%s has %d bytes, Size is %d", v.want, len(v.want), Size)
		}
	}
}

func TestAppend(t *testing.T) {
	tests := []struct {
		name string
		a, b string
		// same is a pair with the same ID; without one there is no ID.
		sameA, sameB string
	}{
		{"ports decide between equal addresses", "10.0.0.1:80", "10.0.0.1:9", "10.0.0.1:9", "10.0.0.1:80"},
		{"one socket connected to itself", "127.0.0.1:4000", "127.0.0.1:4000", "127.0.0.1:4000", "127.0.0.1:4000"},
		{"address before port", "10.0.0.2:1", "10.0.0.1:2", "10.0.0.1:2", "10.0.0.2:1"},
		{"unsigned bytes", "200.0.0.1:1", "10.0.0.1:2", "10.0.0.1:2", "200.0.0.1:1"},
		{"mapped is IPv4", "[::ffff:10.0.0.1]:1", "10.0.0.2:2", "10.0.0.1:1", "10.0.0.2:2"},
		{"both mapped", "[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:2", "10.0.0.2:2", "10.0.0.1:1"},
		{"a zone is only known on one host", "[fe80::1%eth0]:1", "[fe80::2%eth1]:2", "[fe80::1]:1", "[fe80::2]:2"},
		{"loopback of IPv6", "[::1]:1", "[::1]:2", "[::1]:2", "[::1]:1"},
		{"no source port yet", "10.0.0.1:0", "10.0.0.2:443", "", ""},
		{"a listener", "0.0.0.0:80", "0.0.0.0:0", "", ""},
		{"a peer unknown, port known", "10.0.0.1:80", "0.0.0.0:12", "", ""},
		{"a listener of IPv6", "[::]:80", "[2001:db8::1]:12", "", ""},
		{"a mapped unspecified address", "[::ffff:0.0.0.0]:80", "10.0.0.1:12", "", ""},
		{"two families", "10.0.0.1:1", "[2001:db8::1]:2", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(Append(nil, netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b)))
			want := ""
			if tt.sameA != "" {
				want = byTheBook(protocol, netip.MustParseAddrPort(tt.sameA), netip.MustParseAddrPort(tt.sameB))
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if got := Append(nil, netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:1")); got != nil {
		t.Errorf("got %q for no address", got)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, uint16(80), []byte{10, 0, 0, 2}, uint16(40000))
	f.Add(make([]byte, 16), uint16(1), netip.MustParseAddr("::ffff:1.2.3.4").AsSlice(), uint16(65535))
	f.Add([]byte(nil), uint16(0), []byte{1}, uint16(0))
	f.Fuzz(func(t *testing.T, a []byte, aPort uint16, b []byte, bPort uint16) {
		aAddr, _ := netip.AddrFromSlice(a)
		bAddr, _ := netip.AddrFromSlice(b)
		src, dst := netip.AddrPortFrom(aAddr, aPort), netip.AddrPortFrom(bAddr, bPort)
		got, back := string(Append(nil, src, dst)), string(Append(nil, dst, src))
		if got != back {
			t.Fatalf("%v %v is %q in one direction and %q in the other", src, dst, got, back)
		}
		if got != "" && got != byTheBook(protocol, src, dst) {
			t.Fatalf("%v %v = %q, want %q", src, dst, got, byTheBook(protocol, src, dst))
		}
	})
}

// TestFIPS computes an ID in a process in which SHA-1 is not allowed.
func TestFIPS(t *testing.T) {
	if fips140.Enforced() {
		return // this is that process; TestPublishedVectors would use SHA-1 itself
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUnderFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUnderFIPS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUnderFIPS(t *testing.T) {
	if !fips140.Enforced() {
		t.Skip("run by TestFIPS")
	}
	v := vectors[0]
	if got := string(Append(nil, netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst))); got != v.want {
		t.Errorf("got %q, want %q", got, v.want)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, Size)
	for _, v := range vectors[:4] {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], src, dst) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", v.src, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, Size)
	for name, v := range map[string]int{"ipv4": 2, "ipv6": 0, "mapped": 2} {
		src, dst := netip.MustParseAddrPort(vectors[v].src), netip.MustParseAddrPort(vectors[v].dst)
		if name == "mapped" {
			src = netip.AddrPortFrom(netip.AddrFrom16(src.Addr().As16()), src.Port())
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = Append(buf[:0], src, dst)
			}
		})
	}
}
