package sinktest

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// HostileComm tries to break a line, a terminal and a JSON string.
const HostileComm = "a\n\x1b[31m\"\\\u202e\xff"

// Hostile returns a finding about a process that chose its names to do harm.
func Hostile() finding.Finding {
	f := closeWait()
	f.Owner.Process.Comm = HostileComm
	f.Owner.Process.Executable = "日本\u200b\x1b]0;owned\a" + strings.Repeat("x", 300)
	f.Owner.Process.Path = "/tmp/\"},{\"level\":\"info\"\n" + strings.Repeat("/\u2028", 2000)
	f.Message = "CLOSE_WAIT for 31s: " + f.Owner.Process.Executable + "\r\n\x9b2J has not closed"
	return f
}

// Longest returns the finding with the longest line there can be: every value
// known, every number at its end, every text longer than its limit.
func Longest() finding.Finding {
	long := strings.Repeat("\\\"\x1b\u202e", 2000)
	six := netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").WithZone(strings.Repeat("\x1b", 15))
	task := flow.Task{PID: math.MaxUint32, TID: math.MaxUint32, UID: math.MaxUint32, Comm: long}
	f := finding.Finding{
		ID: long, Kind: finding.SynSentStalled, Reason: finding.ListenerOverflow,
		Status: finding.Update, Time: Now, Since: Now,
		Duration: math.MaxInt64, Threshold: math.MaxInt64, Live: true, Message: long,
		GivesUp: finding.GivesUp{Known: true, In: math.MaxInt64},
		Sock: flow.Sock{
			ID: flow.ID{
				Key:   flow.Key{Addr: math.MaxUint64, Cookie: math.MaxUint64},
				Local: netip.AddrPortFrom(six, 65535), Peer: netip.AddrPortFrom(six, 65535),
				NetNS: math.MaxUint32,
			},
			State: flow.StateEstablished, Role: flow.RoleClient, Inode: math.MaxUint64,
			Retransmits: 255, Backoff: 255, SndNxt: math.MaxInt32, WriteSeq: math.MaxUint32 - 1,
			RcvNxt: math.MaxUint32, SendWindow: math.MaxUint32,
			SYN: flow.SYN{Drop: &flow.Drop{Reason: long, Location: long, Hook: "cgroup_egress", NetNS: math.MaxUint32}},
			RTO: math.MaxInt64, SRTT: math.MaxInt64, LastReceive: math.MaxInt64, LastSend: math.MaxInt64,
		},
		Owner: finding.Owner{
			Process: finding.Process{
				Task: task, Executable: long, Path: long,
				Relation: finding.RelationConnector, FD: math.MaxInt64,
			},
			Total: math.MaxInt64,
		},
	}
	f.Stack = LongStack(long)
	f.Goroutines = LongGoroutines(long)
	f.Workload = &finding.Workload{ContainerID: long, Container: long, Namespace: long, Pod: long, PodUID: long}
	f.Peer = &finding.Peer{State: flow.StateEstablished, Orphan: true, Owner: f.Owner, Workload: f.Workload}
	f.Listener = &finding.Listener{Process: finding.Process{Task: task}, Queue: math.MaxUint32, Limit: math.MaxUint32}
	for range 100 {
		f.Owner.Holders = append(f.Owner.Holders, flow.Holder{Task: task, FD: math.MaxUint32})
	}
	return f
}

// LongestGroup returns the group with the longest line there can be.
func LongestGroup() finding.Group {
	f := Longest()
	g := finding.Group{
		ID: f.ID, Kind: f.Kind, Status: finding.Resolved, Time: Now, Message: f.Message,
		Count: math.MaxInt64, Opened: math.MaxUint64, Resolved: math.MaxUint64, Oldest: math.MaxInt64,
		Growth: -math.MaxFloat32, GrowthKnown: true,
		Process: f.Owner.Process, Workload: f.Workload, Role: flow.RoleServer, Service: f.Sock.Local,
	}
	for range 100 {
		g.Samples = append(g.Samples, f.ID)
	}
	g.Stack = f.Stack
	return g
}

// FuzzedFinding makes a finding from what a fuzzer varies. Numbers come out of
// n in a fixed way, so that one seed gives one finding.
func FuzzedFinding(text, comm string, n uint64, addr []byte) finding.Finding {
	f := Longest()
	ip, _ := netip.AddrFromSlice(addr)
	f.ID, f.Message, f.Owner.Process.Comm = text, text+comm, comm
	f.Owner.Process.Executable, f.Owner.Process.Path = comm+text, text
	f.Kind, f.Reason = finding.Kind(n%uint64(finding.KindCount)), finding.Reason(n%uint64(finding.ReasonCount))
	f.Outcome, f.Status = finding.Outcome(n%uint64(finding.OutcomeCount)), finding.Status(n%uint64(finding.StatusCount))
	f.Owner.Process.Relation = finding.Relation(n % uint64(finding.RelationCount))
	f.Time, f.Since = time.Unix(0, int64(n)), time.Unix(int64(n), 0)
	f.Duration, f.Threshold = time.Duration(n), time.Duration(n>>1)
	f.GivesUp = finding.GivesUp{Known: n&1 != 0, Never: n&2 != 0, In: time.Duration(n)}
	f.Live, f.SinceExact, f.Sock.TimeWait = n&4 != 0, n&8 != 0, n&16 != 0
	f.Sock.Local, f.Sock.Peer = netip.AddrPortFrom(ip, uint16(n)), netip.AddrPortFrom(ip.WithZone(comm), uint16(n>>8))
	f.Sock.State, f.Sock.Role = flow.State(n%uint64(flow.StateMax+2)), flow.Role(n%3)
	f.Sock.Cookie, f.Sock.Inode, f.Sock.NetNS = n, n>>3, uint32(n>>5)
	f.Sock.SndUna, f.Sock.SndNxt, f.Sock.WriteSeq = uint32(n), uint32(n>>7), uint32(n>>13)
	f.Sock.RcvNxt, f.Sock.CopiedSeq = uint32(n>>17), uint32(n>>19)
	f.Sock.RTO, f.Sock.SRTT, f.Sock.LastSend = time.Duration(n), time.Duration(n<<1), time.Duration(n<<2)
	f.Owner.Process.PID, f.Owner.Process.FD = uint32(n>>1), int(int32(n))
	f.Owner.Holders = f.Owner.Holders[:n%uint64(len(f.Owner.Holders))]
	f.Stack = LongStack(text)
	f.Goroutines = LongGoroutines(text)
	f.Stack.Of = finding.StackOf(n % uint64(finding.StackCount))
	f.Stack.Frames = f.Stack.Frames[:n%uint64(len(f.Stack.Frames))]
	f.Workload = &finding.Workload{ContainerID: text, Container: comm, Namespace: comm + text, Pod: text + comm, PodUID: comm}
	f.Peer = &finding.Peer{State: flow.State(n >> 9 % uint64(flow.StateMax+2)), Orphan: n&32 != 0, Owner: f.Owner, Workload: f.Workload}
	return f
}
