package explain

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// reasons are the states in which each reason is said.
var reasons = map[finding.Reason][]flow.State{
	finding.NoReply: {flow.StateSynSent},

	finding.DroppedLocally:   {flow.StateSynSent},
	finding.Unreachable:      {flow.StateSynSent},
	finding.ListenerOverflow: {flow.StateSynSent},

	finding.HalfClosed:   {flow.StateFinWait2},
	finding.Orphaned:     {flow.StateFinWait2},
	finding.EOFIgnored:   {flow.StateCloseWait},
	finding.EOFUnread:    {flow.StateCloseWait},
	finding.StillSending: {flow.StateCloseWait},
	finding.NotReading:   {flow.StateEstablished},
	finding.Unaccepted:   {flow.StateCloseWait, flow.StateEstablished},
	finding.PeerSilent:   {flow.StateEstablished, flow.StateFinWait1, flow.StateClosing, flow.StateLastAck},
	finding.ZeroWindow:   {flow.StateEstablished, flow.StateFinWait1, flow.StateClosing, flow.StateLastAck},
}

// sample is a finding with this state and reason about a process in this relation.
func sample(state flow.State, reason finding.Reason, relation finding.Relation) *finding.Finding {
	f := &finding.Finding{
		Kind: finding.KindOf(state), Reason: reason, Status: finding.Open, SinceExact: true,
		Duration: 31*time.Second + 400*time.Millisecond, Live: true,
		Sock: flow.Sock{
			ID: flow.ID{
				Local: netip.MustParseAddrPort("10.0.0.1:41000"), Peer: netip.MustParseAddrPort("10.0.0.2:443"),
			},
			State: state, Retransmits: 2, RcvNxt: 13, SndUna: 1000, SndNxt: 1513, WriteSeq: 2514,
		},
	}
	f.Owner.Process.FD = -1
	if relation == finding.RelationNone {
		return f
	}
	task := flow.Task{PID: 812, TID: 812, UID: 1000, Comm: "api-worker"}
	f.Owner.AcceptQueue, f.Owner.AcceptLimit = 5, 128
	f.Owner.Process = finding.Process{Task: task, Executable: "api", Path: "/srv/api", Relation: relation, FD: -1}
	if relation == finding.RelationHolder {
		f.Owner.Process.FD, f.Owner.Total = 14, 1
		f.Owner.Holders = []flow.Holder{{Task: task, FD: 14}}
	}
	return f
}

func TestSentences(t *testing.T) {
	var got bytes.Buffer
	for reason := range finding.ReasonCount {
		for _, state := range reasons[reason] {
			for relation := range finding.RelationCount {
				f := sample(state, reason, relation)
				fmt.Fprintf(&got, "%v %v %v %v\n  %s\n", f.Kind, state, reason, relation, Message(f))
			}
		}
	}
	sinktest.Golden(t, "sentences.txt", got.Bytes())
}

func TestResolvedSentences(t *testing.T) {
	var got bytes.Buffer
	for outcome := finding.OutcomeNone + 1; outcome < finding.OutcomeCount; outcome++ {
		for _, state := range []flow.State{
			flow.StateSynSent, flow.StateFinWait1, flow.StateFinWait2, flow.StateCloseWait, flow.StateLastAck, flow.StateClosing,
			flow.StateEstablished,
		} {
			f := sample(state, finding.PeerSilent, finding.RelationHolder)
			f.Status, f.Outcome, f.Live = finding.Resolved, outcome, false
			fmt.Fprintf(&got, "%v %v\n  %s\n", state, outcome, Message(f))
		}
	}
	sinktest.Golden(t, "resolved.txt", got.Bytes())
}

// A word of the contract that has no sentence would be told as nothing.
func TestEveryWordHasWords(t *testing.T) {
	// Those that later releases find.
	unused := map[finding.Reason]bool{}
	said := map[string]finding.Reason{}
	for reason := finding.ReasonNone + 1; reason < finding.ReasonCount; reason++ {
		states, ok := reasons[reason]
		if ok == unused[reason] {
			t.Errorf("%v: said in %v, later %v", reason, states, unused[reason])
		}
		if unused[reason] {
			continue
		}
		text := cause(sample(states[0], reason, finding.RelationHolder))
		if other, ok := said[text]; ok {
			t.Errorf("%v and %v are told alike: %s", reason, other, text)
		}
		said[text] = reason
	}
	for outcome := finding.OutcomeNone + 1; outcome < finding.OutcomeCount; outcome++ {
		if outcomeWords[outcome] == "" {
			t.Errorf("%v has no words", outcome)
		}
	}
	for state := range flow.StateMax {
		kind := finding.KindOf(state)
		if kind != finding.KindNone && stateWords[state] == "" {
			t.Errorf("%v has no word", state)
		}
	}
}

func TestDetails(t *testing.T) {
	tests := []struct {
		name   string
		change func(*finding.Finding)
		want   string
	}{
		{
			"the first SYN", func(f *finding.Finding) {
				f.Reason, f.Sock.State, f.Sock.Retransmits = finding.NoReply, flow.StateSynSent, 0
			},
			"SYN_SENT for 31s: api (pid 812, fd 14) connects to 10.0.0.2:443 and nothing comes back (1 SYN sent)",
		},
		{
			"the last SYN", func(f *finding.Finding) {
				f.Reason, f.Sock.State, f.Sock.Retransmits = finding.NoReply, flow.StateSynSent, 255
			},
			"SYN_SENT for 31s: api (pid 812, fd 14) connects to 10.0.0.2:443 and nothing comes back (256 SYNs sent)",
		},
		{
			"a bound", func(f *finding.Finding) { f.SinceExact = false },
			"CLOSE_WAIT for at least 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed",
		},
		{
			"never", func(f *finding.Finding) { f.GivesUp = finding.GivesUp{Known: true, Never: true} },
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the kernel will never end it",
		},
		{
			"soon", func(f *finding.Finding) { f.GivesUp = finding.GivesUp{Known: true, In: 45 * time.Second} },
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the kernel ends it in 45s",
		},
		{
			"the end of file alone", func(f *finding.Finding) { f.Reason, f.Sock.RcvNxt = finding.EOFUnread, 1 },
			"CLOSE_WAIT for 31s: 10.0.0.2:443 closed and api (pid 812, fd 14) does not read (the end of file waits)",
		},
		{
			"one byte", func(f *finding.Finding) { f.Reason, f.Sock.RcvNxt = finding.EOFUnread, 2 },
			"CLOSE_WAIT for 31s: 10.0.0.2:443 closed and api (pid 812, fd 14) does not read (1 byte and the end of file wait)",
		},
		{
			"several holders", func(f *finding.Finding) { f.Owner.Total = 17 },
			"CLOSE_WAIT for 31s: api (pid 812, fd 14, and 16 more) has nothing left to read from 10.0.0.2:443, which closed, and has not closed",
		},
		{
			"a name and no pid", func(f *finding.Finding) {
				f.Reason, f.Sock.State = finding.Orphaned, flow.StateFinWait2
				f.Owner = finding.Owner{Process: finding.Process{Task: flow.Task{Comm: "curl"}, FD: -1, Relation: finding.RelationCloser}}
			},
			"FIN_WAIT2 for 31s: 10.0.0.2:443 has not finished its side of a connection that curl closed",
		},
		{
			"a descriptor in flight", func(f *finding.Finding) {
				f.Sock.HasSocket, f.Owner = true, finding.Owner{Process: finding.Process{FD: -1}}
			},
			"CLOSE_WAIT for 31s: an unseen holder has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"no process holds a descriptor of it (in flight, in an io_uring, the kernel's own, or in another pid namespace)",
		},
		{
			"processes that must not be looked into", func(f *finding.Finding) {
				f.Sock.HasSocket, f.Owner = true, finding.Owner{Process: finding.Process{FD: -1}, Denied: true}
			},
			"CLOSE_WAIT for 31s: an unseen holder has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"not all processes could be looked into (CAP_SYS_PTRACE is missing), so who holds it is not known",
		},
		{
			"a descriptor in flight, once held", func(f *finding.Finding) {
				f.Sock.HasSocket, f.Owner.Total = true, 0
				f.Owner.Process.Relation, f.Owner.Process.FD = finding.RelationLastHolder, -1
				f.GivesUp = finding.GivesUp{Known: true, Never: true}
			},
			"CLOSE_WAIT for 31s: an unseen holder has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"no process holds a descriptor of it (in flight, in an io_uring, the kernel's own, or in another pid namespace), " +
				"api (pid 812) had it last; the kernel will never end it",
		},
		{
			"shut down, the descriptor in flight", func(f *finding.Finding) {
				f.Reason, f.Sock.State, f.Sock.HasSocket = finding.PeerSilent, flow.StateFinWait1, true
				f.Owner.Total, f.Owner.Process.Relation, f.Owner.Process.FD = 0, finding.RelationCloser, -1
			},
			"FIN_WAIT1 for 31s: 10.0.0.2:443 does not acknowledge the end of a connection that api (pid 812) shut down " +
				"(513 bytes unacknowledged, 2 retransmissions); " +
				"no process holds a descriptor of it (in flight, in an io_uring, the kernel's own, or in another pid namespace)",
		},
		{
			"a lone FIN", func(f *finding.Finding) {
				f.Reason, f.Sock.State, f.Owner.Process.Relation = finding.PeerSilent, flow.StateLastAck, finding.RelationCloser
				f.Sock.SndUna, f.Sock.SndNxt, f.Sock.WriteSeq, f.Sock.Retransmits = 7, 8, 8, 7
			},
			"LAST_ACK for 31s: 10.0.0.2:443 does not acknowledge the end of a connection that api (pid 812) closed " +
				"(the FIN unacknowledged, 7 retransmissions)",
		},
		{
			"any moment", func(f *finding.Finding) { f.GivesUp = finding.GivesUp{Known: true, In: -time.Millisecond} },
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the kernel ends it any moment",
		},
		{
			"no program", func(f *finding.Finding) { f.Owner.Process.Executable = "" },
			"CLOSE_WAIT for 31s: api-worker (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed",
		},
		{
			"the other end", func(f *finding.Finding) {
				f.Peer = &finding.Peer{State: flow.StateFinWait2, Owner: f.Owner}
				f.GivesUp = finding.GivesUp{Known: true, Never: true}
			},
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the other end is FIN_WAIT2, held by api (pid 812, fd 14); the kernel will never end it",
		},
		{
			"the other end is an orphan", func(f *finding.Finding) {
				f.Peer = &finding.Peer{State: flow.StateTimeWait, Orphan: true}
			},
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the other end is TIME_WAIT, closed by its process",
		},
		{
			"the other end waits to be accepted", func(f *finding.Finding) {
				f.Peer = &finding.Peer{State: flow.StateEstablished, Unaccepted: true}
			},
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the other end is ESTABLISHED, not accepted by any process",
		},
		{
			"the other end is nobody's", func(f *finding.Finding) {
				f.Peer = &finding.Peer{State: flow.StateEstablished}
			},
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.2:443, which closed, and has not closed; " +
				"the other end is ESTABLISHED",
		},
		{
			"IPv6", func(f *finding.Finding) { f.Sock.Peer = netip.MustParseAddrPort("[2001:db8::1]:443") },
			"CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from [2001:db8::1]:443, which closed, and has not closed",
		},
	}
	for _, tt := range tests {
		f := sample(flow.StateCloseWait, finding.EOFIgnored, finding.RelationHolder)
		tt.change(f)
		if got := Message(f); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// A process that calls itself nothing is still told by its pid.
func TestNameless(t *testing.T) {
	f := sample(flow.StateCloseWait, finding.EOFIgnored, finding.RelationHolder)
	f.Owner.Process.Executable, f.Owner.Process.Comm = "", ""
	if got := Message(f); !strings.Contains(got, "pid 812, fd 14") {
		t.Errorf("the pid is kept secret: %s", got)
	}
}

// A sentence is one line that no name can break, and not longer for a long one.
// maxSentence is what a record has room for (jsonline, maxMessage).
const maxSentence = 640

func checkSentence(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) || len(s) > maxSentence {
		t.Fatalf("%d bytes: %q", len(s), s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || unicode.In(r, unicode.Cf) {
			t.Fatalf("%U in %q", r, s)
		}
	}
}

// What is outstanding is told as it is: a FIN is no byte.
func TestOutstanding(t *testing.T) {
	for _, tt := range []struct {
		una, nxt, write uint32
		want            string
	}{
		{100, 101, 101, "the FIN unacknowledged"},
		{100, 102, 102, "1 byte and the FIN unacknowledged"},
		{4294967290, 5, 5, "10 bytes and the FIN unacknowledged"},
		{100, 150, 201, "50 bytes unacknowledged"},
		{100, 100, 201, "100 bytes and the FIN unsent"},
		{100, 100, 101, "the FIN unsent"},
		{100, 100, 100, "nothing outstanding"},
	} {
		s := flow.Sock{State: flow.StateFinWait1, SndUna: tt.una, SndNxt: tt.nxt, WriteSeq: tt.write}
		if got := outstanding(&s); got != tt.want {
			t.Errorf("%d %d %d: %q, want %q", tt.una, tt.nxt, tt.write, got, tt.want)
		}
	}
}

func TestHostileNames(t *testing.T) {
	for _, f := range []finding.Finding{sinktest.Hostile(), sinktest.Longest()} {
		for reason := range finding.ReasonCount {
			f.Reason = reason
			for f.Status = range finding.StatusCount {
				checkSentence(t, Message(&f))
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("curl", sinktest.HostileComm, uint64(0x9e3779b97f4a7c15), []byte{10, 0, 0, 1})
	f.Add("", "", uint64(0), []byte{})
	f.Add("\x1b[2J", "\u202e", uint64(1<<63), make([]byte, 16))
	f.Fuzz(func(t *testing.T, text, comm string, n uint64, addr []byte) {
		sample := sinktest.FuzzedFinding(text, comm, n, addr)
		checkSentence(t, Message(&sample))
	})
}
