package table

import (
	"strings"
	"testing"
	"unicode"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

func TestTraceGolden(t *testing.T) {
	for name, tr := range map[string]Trace{"trace.txt": {}, "trace_wide.txt": {Wide: true}} {
		t.Run(name, func(t *testing.T) {
			out := tr.AppendHeader(nil)
			for _, one := range sinktest.Transitions() {
				out = tr.AppendTransition(out, &one)
			}
			sinktest.Golden(t, name, out)
		})
	}
}

// TestTraceColumnsAreThoseOfTcpstates: scripts take fields by number.
func TestTraceColumnsAreThoseOfTcpstates(t *testing.T) {
	for _, tc := range []struct {
		trace Trace
		want  string
	}{
		{Trace{}, "SKADDR C-PID C-COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS"},
		{Trace{Wide: true}, "SKADDR C-PID C-COMM IP LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS"},
	} {
		if got := strings.Join(strings.Fields(string(tc.trace.AppendHeader(nil))), " "); got != tc.want {
			t.Errorf("header %q, want %q", got, tc.want)
		}
		for i, tr := range sinktest.Transitions() {
			line := string(tc.trace.AppendTransition(nil, &tr))
			if got, want := len(strings.Fields(line)), len(strings.Fields(tc.want)); got != want {
				t.Errorf("transition %d has %d fields, want %d: %q", i, got, want, line)
			}
		}
	}
}

func TestTraceKnowsAllStates(t *testing.T) {
	seen := map[string]bool{}
	for s := range flow.StateMax {
		name := stateName(s)
		if name == "" || seen[name] {
			t.Errorf("state %d is called %q", s, name)
		}
		seen[name] = true
	}
	if got := stateName(200); got != "STATE-200" {
		t.Errorf("an unknown state is called %q", got)
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("comm", uint64(7), []byte{127, 0, 0, 1})
	f.Add(sinktest.HostileComm, ^uint64(0), make([]byte, 16))
	f.Fuzz(func(t *testing.T, comm string, n uint64, addr []byte) {
		fd := sinktest.FuzzedFinding(comm, comm, n, addr)
		tr := finding.Transition{
			ID: fd.Sock.ID, Old: flow.State(n), New: flow.State(n >> 8), Previous: fd.Duration,
			Task: fd.Owner.Process.Task, Retransmit: n&1 != 0, Retransmits: uint8(n),
			RetransmitKind: flow.RetransmitKind(n >> 16),
		}
		for _, tc := range []Trace{{}, {Wide: true}} {
			line := string(tc.AppendTransition(nil, &tr))
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Fatalf("not one line: %q", line)
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
					t.Fatalf("%U in %q", r, line)
				}
			}
		}
	})
}

func BenchmarkTrace(b *testing.B) {
	tr := sinktest.Transitions()[0]
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = Trace{}.AppendTransition(buf[:0], &tr)
	}
}
