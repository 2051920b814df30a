package jsonline

import (
	"encoding/json"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

func TestAppendTime(t *testing.T) {
	east := time.FixedZone("", 2*3600)
	for _, tc := range []struct {
		in   time.Time
		want string
	}{
		{time.Date(2026, 3, 9, 7, 5, 4, 120_000_000, time.UTC), "2026-03-09T07:05:04.120000000Z"},
		{time.Date(2026, 1, 1, 1, 0, 0, 7, east), "2025-12-31T23:00:00.000000007Z"},
		{time.Time{}, "0001-01-01T00:00:00.000000000Z"},
		{time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), "9999-12-31T23:59:59.000000000Z"},
		{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), "9999-12-31T23:59:59.000000000Z"},
	} {
		if got := string(appendTime(nil, "", tc.in)); got != strconv.Quote(tc.want) {
			t.Errorf("%v = %s, want %q", tc.in, got, tc.want)
		}
	}
}

func FuzzAppendTime(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(1773040000), int64(999_999_999))
	f.Fuzz(func(t *testing.T, sec, nsec int64) {
		in := time.Unix(sec%253402300800, nsec).UTC()
		if in.Year() < 0 || in.Year() > 9999 {
			return
		}
		want := in.Format("2006-01-02T15:04:05.000000000Z07:00")
		if got := string(appendTime(nil, "", in)); got != strconv.Quote(want) {
			t.Fatalf("%v = %s, want %q", in, got, want)
		}
	})
}

func TestAppendSeconds(t *testing.T) {
	for _, tc := range []struct {
		in   time.Duration
		want string
	}{
		{-1, ""},
		{0, "0"},
		{999, "0"},
		{time.Microsecond, "0.000001"},
		{1875 * time.Microsecond, "0.001875"},
		{204 * time.Millisecond, "0.204"},
		{31 * time.Second, "31"},
		{31*time.Second + 500*time.Millisecond, "31.5"},
		{math.MaxInt64, "9223372036.854775"},
	} {
		if got := string(appendSeconds(nil, "", tc.in)); got != tc.want {
			t.Errorf("%v = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestAppendEscaped(t *testing.T) {
	for _, tc := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 5, "plain"},
		{"plain", 4, "p…"},
		{`a"b\c`, 7, `a\"b\\c`},
		{`a"b\c`, 6, `a\"…`},
		{"\x1b", 5, `\\x1b`},
		{"\x1b", 4, `…`},
		{"日本", 6, "日本"},
		{`""""`, 8, `\"\"\"\"`},
		{`"""""`, 8, `\"\"…`},
	} {
		if got := string(appendEscaped(nil, tc.in, tc.limit)); got != tc.want {
			t.Errorf("%q within %d = %s, want %s", tc.in, tc.limit, got, tc.want)
		}
	}
}

// TestUnknownIsLeftOut turns single values off and expects their keys to go.
func TestUnknownIsLeftOut(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*finding.Finding)
		gone   []string
	}{
		"peer": {
			func(f *finding.Finding) { f.Sock.Peer = netip.AddrPort{} },
			[]string{"network.peer.address", "network.peer.port", "tcplimbo.network.community_id"},
		},
		"unspecified peer": {
			func(f *finding.Finding) { f.Sock.Peer = netip.MustParseAddrPort("0.0.0.0:0") },
			[]string{"network.peer.address", "network.peer.port", "tcplimbo.network.community_id"},
		},
		"source port": {
			func(f *finding.Finding) { f.Sock.Local = netip.AddrPortFrom(f.Sock.Local.Addr(), 0) },
			[]string{"network.local.port", "tcplimbo.network.community_id"},
		},
		"cookie":     {func(f *finding.Finding) { f.Sock.Cookie = 0 }, []string{"tcplimbo.socket.cookie"}},
		"inode":      {func(f *finding.Finding) { f.Sock.Inode = 0 }, []string{"tcplimbo.socket.inode"}},
		"since":      {func(f *finding.Finding) { f.Since = time.Time{} }, []string{"tcplimbo.finding.since", "tcplimbo.finding.since_exact"}},
		"role":       {func(f *finding.Finding) { f.Sock.Role = flow.RoleUnknown }, []string{"tcplimbo.tcp.role"}},
		"srtt":       {func(f *finding.Finding) { f.Sock.SRTT = 0 }, []string{"tcplimbo.tcp.srtt_seconds"}},
		"received":   {func(f *finding.Finding) { f.Sock.LastReceive = -1 }, []string{"tcplimbo.tcp.last_receive_seconds"}},
		"gives up":   {func(f *finding.Finding) { f.GivesUp = finding.GivesUp{} }, []string{"tcplimbo.tcp.gives_up"}},
		"fd":         {func(f *finding.Finding) { f.Owner.Process.FD = -1 }, []string{"tcplimbo.socket.fd"}},
		"path":       {func(f *finding.Finding) { f.Owner.Process.Path = "" }, []string{"process.executable.path"}},
		"reused pid": {func(f *finding.Finding) { f.Owner.Process.PID = 0 }, []string{"process.pid"}},
		"process": {func(f *finding.Finding) { f.Owner = finding.Owner{} }, []string{
			"process.pid", "process.user.id", "thread.name", "process.executable.name", "process.executable.path",
			"tcplimbo.process.relation", "tcplimbo.socket.fd", "tcplimbo.socket.holders", "tcplimbo.socket.holders_total",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := sinktest.Findings()[3].Finding
			part := whole
			tc.change(&part)
			before := object(t, testEncoder().AppendFinding(nil, &whole))
			after := object(t, testEncoder().AppendFinding(nil, &part))
			for _, key := range tc.gone {
				if _, ok := before[key]; !ok {
					t.Errorf("%s was not there before", key)
				}
				delete(before, key)
			}
			for key := range after {
				if _, ok := before[key]; !ok {
					t.Errorf("%s is written: %v", key, after[key])
				}
				delete(before, key)
			}
			for key := range before {
				t.Errorf("%s is gone too", key)
			}
		})
	}
}

func TestMappedAddressIsIPv4(t *testing.T) {
	f := sinktest.Findings()[3].Finding
	f.Sock.Local, f.Sock.Peer = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), netip.MustParseAddrPort("[::ffff:10.0.0.2]:2")
	got := object(t, testEncoder().AppendFinding(nil, &f))
	if got["network.type"] != "ipv4" || got["network.local.address"] != "10.0.0.1" || got["network.peer.address"] != "10.0.0.2" {
		t.Errorf("mapped addresses became %v %v %v", got["network.type"], got["network.local.address"], got["network.peer.address"])
	}
}

// TestBothEndsHaveOneCommunityID writes one connection as its two hosts see it.
func TestBothEndsHaveOneCommunityID(t *testing.T) {
	const key = "tcplimbo.network.community_id"
	// This is a published vector of the specification.
	here, there := netip.MustParseAddrPort("128.232.110.120:34855"), netip.MustParseAddrPort("66.35.250.204:80")
	for _, pair := range [][2]netip.AddrPort{{here, there}, {there, here}} {
		f := sinktest.Findings()[3].Finding
		f.Sock.Local, f.Sock.Peer = pair[0], pair[1]
		tr := finding.Transition{Time: sinktest.Now, ID: f.Sock.ID, Old: flow.StateSynSent, New: flow.StateClose}
		for _, line := range [][]byte{testEncoder().AppendFinding(nil, &f), testEncoder().AppendTransition(nil, &tr)} {
			if got := object(t, line)[key]; got != "1:LQU9qZlK+B5F3KDmev6m5PMibrg=" {
				t.Errorf("%s is %v in %s", key, got, line)
			}
		}
	}
}

var (
	timeForm    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`)
	integerForm = regexp.MustCompile(`^(0|[1-9]\d*)$`)
)

// checkLine is what holds for every line whatever came from outside.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if len(line) >= MaxLine {
		t.Fatalf("%d bytes: %s", len(line), line)
	}
	for key, value := range object(t, line) {
		switch v := value.(type) {
		case json.Number:
			seconds := regexp.MustCompile(`_seconds$`).MatchString(key)
			if !seconds && !integerForm.MatchString(v.String()) {
				t.Fatalf("%s is %s, want an integer", key, v)
			}
		case string:
			if (key == "time" || key == "tcplimbo.finding.since") && !timeForm.MatchString(v) {
				t.Fatalf("%s is %q", key, v)
			}
			if key == "code.stacktrace" {
				v = strings.ReplaceAll(v, "\n", "") // between frames
			}
			for _, r := range v {
				if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
					t.Fatalf("%s holds %U: %q", key, r, v)
				}
			}
		}
	}
}

func FuzzAppendFinding(f *testing.F) {
	f.Add("message", "comm", uint64(7), []byte{127, 0, 0, 1})
	f.Add("\"\\\n\u202e\xff", sinktest.HostileComm, uint64(math.MaxUint64), make([]byte, 16))
	f.Add("", "", uint64(0), []byte(nil))
	e := testEncoder()
	f.Fuzz(func(t *testing.T, text, comm string, n uint64, addr []byte) {
		fd := sinktest.FuzzedFinding(text, comm, n, addr)
		checkLine(t, e.AppendFinding(nil, &fd))
	})
}

func FuzzAppendTransition(f *testing.F) {
	f.Add("where", "comm", uint64(7), []byte{127, 0, 0, 1})
	f.Add("\"\\\n\u202e\xff", sinktest.HostileComm, uint64(math.MaxUint64), make([]byte, 16))
	e := testEncoder()
	f.Fuzz(func(t *testing.T, text, comm string, n uint64, addr []byte) {
		fd := sinktest.FuzzedFinding(text, comm, n, addr)
		tr := finding.Transition{
			Time: fd.Time, ID: fd.Sock.ID, Role: fd.Sock.Role, Old: flow.State(n >> 3), New: flow.State(n),
			Previous: fd.Duration, Task: fd.Owner.Process.Task, Retransmit: n&32 != 0, Retransmits: uint8(n),
		}
		checkLine(t, e.AppendTransition(nil, &tr))
		loss := finding.Loss{Time: fd.Time, Where: text, Count: n, Reread: n&1 != 0, Message: comm}
		checkLine(t, e.AppendLoss(nil, &loss))
	})
}

func TestTransitionDoesNotAllocate(t *testing.T) {
	e, buf := testEncoder(), make([]byte, 0, MaxLine)
	for i, tr := range sinktest.Transitions()[:6] {
		if n := testing.AllocsPerRun(100, func() { buf = e.AppendTransition(buf[:0], &tr) }); n != 0 {
			t.Errorf("transition %d: %v allocations, want 0", i, n)
		}
	}
}

func BenchmarkAppendTransition(b *testing.B) {
	e, buf := testEncoder(), make([]byte, 0, MaxLine)
	all := sinktest.Transitions()
	for name, tr := range map[string]finding.Transition{"connect": all[0], "softirq": all[2], "ipv6": all[5]} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = e.AppendTransition(buf[:0], &tr)
			}
		})
	}
}

func BenchmarkAppendFinding(b *testing.B) {
	e, buf := testEncoder(), make([]byte, 0, MaxLine)
	f := sinktest.Findings()[3].Finding
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendFinding(buf[:0], &f)
	}
}

func BenchmarkAppendTime(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			buf = appendTime(buf[:0], "", sinktest.Now)
		}
	})
	b.Run("layout", func(b *testing.B) {
		for b.Loop() {
			buf = sinktest.Now.UTC().AppendFormat(buf[:0], "2006-01-02T15:04:05.000000000Z07:00")
		}
	})
}
