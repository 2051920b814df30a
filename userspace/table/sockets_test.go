package table

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// rows are the sample findings and some rows that only a list has.
func rows() []finding.Finding {
	var out []finding.Finding
	for _, s := range sinktest.Findings() {
		if s.Name != "bare" && s.Name != "healthy" && s.Finding.Status != finding.Resolved {
			out = append(out, s.Finding)
		}
	}
	wide := out[3]
	wide.Owner.Process.Executable = "データベース接続プール管理"
	commOnly := out[3]
	commOnly.Owner.Process.Executable = ""
	listener := finding.Finding{Duration: -1, Live: true, Owner: out[5].Owner, Sock: out[5].Sock}
	listener.Sock.State, listener.Sock.AcceptQueue, listener.Sock.AcceptLimit = flow.StateListen, 3, 4096
	return append(out, wide, commOnly, listener)
}

// ipv4Rows are the rows of most hosts.
func ipv4Rows() []finding.Finding {
	var out []finding.Finding
	for _, r := range rows() {
		if r.Sock.Local.Addr().Is4() {
			out = append(out, r)
		}
	}
	return out
}

func TestSocketsGolden(t *testing.T) {
	for name, rows := range map[string][]finding.Finding{"all": rows(), "ipv4": ipv4Rows(), "few": ipv4Rows()[1:3]} {
		for _, width := range []int{0, 60, 80, 120, 200} {
			file := fmt.Sprintf("%s_%d.txt", name, width)
			t.Run(file, func(t *testing.T) {
				sinktest.Golden(t, file, AppendSockets(nil, rows, Options{Width: width}))
			})
		}
	}
}

// A pid that was reused is not named, the program that had it is.
func TestProcessWithoutPID(t *testing.T) {
	row := rows()[0]
	row.Owner = finding.Owner{Process: finding.Process{
		Task: flow.Task{Comm: "curl", UID: 1000}, Relation: finding.RelationCloser, FD: -1,
	}}
	if got := string(AppendSockets(nil, []finding.Finding{row}, Options{})); !strings.Contains(got, "  (curl)  ") {
		t.Errorf("no (curl) in\n%s", got)
	}
	row.Owner.Process.Comm = "" // prctl(PR_SET_NAME) takes an empty one
	if got := string(AppendSockets(nil, []finding.Finding{row}, Options{})); strings.Contains(got, "(") {
		t.Errorf("a process of which nothing is known:\n%s", got)
	}
}

func TestEmptyTable(t *testing.T) {
	if got := string(AppendSockets(nil, nil, Options{NoHeader: true})); got != "" {
		t.Errorf("no rows and no header give %q", got)
	}
	if got := string(AppendSockets([]byte("x\n"), nil, Options{Width: 80})); !strings.HasPrefix(got, "x\nSTATE  AGE") || strings.Count(got, "\n") != 2 {
		t.Errorf("no rows give %q", got)
	}
}

func TestNoHeaderHasTheSameRows(t *testing.T) {
	with := strings.SplitAfter(string(AppendSockets(nil, rows(), Options{})), "\n")
	without := strings.SplitAfter(string(AppendSockets(nil, rows(), Options{NoHeader: true})), "\n")
	for i, line := range without {
		if strings.Join(strings.Fields(line), " ") != strings.Join(strings.Fields(with[i+1]), " ") {
			t.Errorf("row %d is %q without the header and %q with it", i, line, with[i+1])
		}
	}
}

// TestColumnsAreAligned finds each head's column in every row, counted in
// terminal cells.
func TestColumnsAreAligned(t *testing.T) {
	for _, width := range []int{0, 80, 120} {
		lines := strings.Split(strings.TrimSuffix(string(AppendSockets(nil, ipv4Rows(), Options{Width: width})), "\n"), "\n")
		why := strings.Index(lines[0], "WHY")
		for i, row := range ipv4Rows() {
			reason := row.Reason.String()
			if row.Reason == finding.ReasonNone {
				reason = "-"
			}
			line := ""
			for _, l := range lines[1:] {
				if strings.HasSuffix(l, "  "+reason) {
					line = l
				}
			}
			if got := readable.Width(strings.TrimSuffix(line, reason)); got != why {
				t.Errorf("width %d, row %d: WHY at cell %d, its head at %d: %q", width, i, got, why, line)
			}
		}
	}
}

// checkTable is what holds for each table: it fits if it can, nothing that
// must be whole is cut, nothing harmful is in it.
func checkTable(t *testing.T, rows []finding.Finding, width int) {
	t.Helper()
	out := string(AppendSockets(nil, rows, Options{Width: width}))
	for _, r := range out {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Fatalf("%U in the table", r)
		}
	}
	for line := range strings.Lines(out) {
		if trimmed := strings.TrimRight(line, " \n"); trimmed+"\n" != line {
			t.Fatalf("trailing blanks in %q", line)
		}
		if w := readable.Width(strings.TrimSuffix(line, "\n")); width >= 80 && w > width {
			t.Fatalf("%d cells in a terminal of %d: %q", w, width, line)
		}
	}
	for i := range rows {
		s, p := &rows[i].Sock, &rows[i].Owner.Process
		for _, addr := range []string{
			string(readable.AppendAddrPort(nil, s.Local)), string(readable.AppendAddrPort(nil, s.Peer)),
			s.State.Label(), readable.Age(rows[i].Duration),
		} {
			if !strings.Contains(out, addr) {
				t.Fatalf("width %d: %s is missing in\n%s", width, addr, out)
			}
		}
		if p.Known() && !strings.Contains(out, fmt.Sprintf("[%d]", p.PID)) {
			t.Fatalf("width %d: pid %d is missing in\n%s", width, p.PID, out)
		}
	}
}

// TestWhatGoesFirst: what ss shows too gives way to when the socket ends, and
// state, age, process and reason are always there.
func TestWhatGoesFirst(t *testing.T) {
	for width := range 200 {
		// The first row begins with a state in capital letters too.
		head, _, _ := strings.Cut(string(AppendSockets(nil, ipv4Rows(), Options{Width: width})), "\n"+ipv4Rows()[0].Sock.State.Label())
		has := func(name string) bool { return slices.Contains(strings.Fields(head), name) }
		if !has("STATE") || !has("AGE") || !has("PROCESS") || !has("WHY") {
			t.Errorf("width %d: %s", width, head)
		}
		if (has("RETR") && !has("SEND-Q")) || (has("SEND-Q") && !has("ENDS")) {
			t.Errorf("width %d drops the wrong column: %s", width, head)
		}
	}
}

// TestVeryNarrow: a pane of 40 cells is enough for what most hosts have.
func TestVeryNarrow(t *testing.T) {
	row := ipv4Rows()[1]
	row.Duration, row.SinceExact = 100*time.Hour, false
	row.Owner.Process.Executable, row.Owner.Process.PID, row.Owner.Process.FD = "backend-worker", 54321, 12
	row.Owner.Total = 1
	out := string(AppendSockets(nil, []finding.Finding{row}, Options{Width: 40}))
	for line := range strings.Lines(out) {
		if w := readable.Width(strings.TrimSuffix(line, "\n")); w > 40 {
			t.Errorf("%d cells in %q", w, line)
		}
	}
	if !strings.Contains(out, "\n  "+row.Reason.String()+"\n") {
		t.Errorf("the reason has no line of its own:\n%s", out)
	}
}

func TestEveryWidth(t *testing.T) {
	longest := sinktest.Longest()
	for width := range 260 {
		checkTable(t, rows(), width)
		checkTable(t, ipv4Rows(), width)
		if width > 120 || width == 0 {
			checkTable(t, []finding.Finding{longest}, 0)
		}
	}
}

func FuzzAppendSockets(f *testing.F) {
	f.Add("message", "comm", uint64(7), []byte{127, 0, 0, 1}, 80)
	f.Add("\"\\\n\u202e\xff[", sinktest.HostileComm, uint64(math.MaxUint64), make([]byte, 16), 0)
	f.Fuzz(func(t *testing.T, text, comm string, n uint64, addr []byte, width int) {
		fd := sinktest.FuzzedFinding(text, comm, n, addr)
		other := fd
		other.Owner.Process.Executable = comm
		// Fuzzed values may be wider than any terminal.
		checkTable(t, []finding.Finding{fd, other}, min(width, 79))
	})
}

func BenchmarkAppendSockets(b *testing.B) {
	var many []finding.Finding
	for len(many) < 10_000 {
		many = append(many, ipv4Rows()...)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = AppendSockets(nil, many, Options{Width: 120})
	}
}
