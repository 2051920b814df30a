package sinktest

import (
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Now is when the samples were written.
var Now = time.Date(2026, 3, 9, 7, 5, 4, 120_000_000, time.UTC)

// HostNetNS is the network namespace of most samples.
const HostNetNS = 4026531840

// Sample is a named finding.
type Sample struct {
	Name    string
	Finding finding.Finding
}

// Findings returns one finding of each kind and of each thing that is special
// about a socket or its owner. The caller may change them.
func Findings() []Sample {
	return append([]Sample{
		{"syn_sent", synSent()},
		{"fin_wait2_half_closed", halfClosed()},
		{"fin_wait2_orphaned", orphaned()},
		{"close_wait_eof_ignored", closeWait()},
		{"close_wait_update", closeWaitUpdate()},
		{"close_wait_unaccepted", unaccepted()},
		{"established_stalled", established()},
		{"closing_stalled", closing()},
		{"resolved", resolved()},
		{"resolved_gone", resolvedGone()},
		{"hostile", Hostile()},
		{"healthy", healthy()},
		{"bare", finding.Finding{Time: Now, Duration: -1, Owner: noOwner()}},
	}, append(stackSamples(), goroutineSamples()...)...)
}

func base(kind finding.Kind, reason finding.Reason, age, threshold time.Duration) finding.Finding {
	return finding.Finding{
		ID: "6f1c0b7e52a94d13", Kind: kind, Reason: reason, Status: finding.Open,
		Time: Now, Since: Now.Add(-age), SinceExact: true,
		Duration: age, Threshold: threshold, Live: true, Owner: noOwner(),
	}
}

func noOwner() finding.Owner { return finding.Owner{Process: finding.Process{FD: -1}} }

func sock(state flow.State, local, peer string) flow.Sock {
	return flow.Sock{
		ID: flow.ID{
			Key:   flow.Key{Addr: 0xffff9a1c03f2c8c0, Cookie: 0x1003},
			Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer),
			NetNS: HostNetNS,
		},
		State: state, HasSocket: true, Inode: 26428, SendWindow: 65536,
		RTO: 204 * time.Millisecond, SRTT: 1875 * time.Microsecond,
		LastReceive: 31 * time.Second, LastAck: 31 * time.Second, LastSend: 32*time.Second + 4*time.Millisecond,
		Expires: -1,
	}
}

func holder(pid, fd uint32, comm, path, name string) finding.Owner {
	task := flow.Task{PID: pid, TID: pid, UID: 1000, Comm: comm}
	return finding.Owner{
		Process: finding.Process{
			Task: task, Executable: name, Path: path,
			Relation: finding.RelationHolder, FD: int(fd),
		},
		Holders: []flow.Holder{{Task: task, FD: fd}},
		Total:   1,
	}
}

func synSent() finding.Finding {
	f := base(finding.SynSentStalled, finding.NoReply, 3*time.Second, 3*time.Second)
	f.Sock = sock(flow.StateSynSent, "10.0.0.1:45678", "203.0.113.9:443")
	f.Sock.Role, f.Sock.Retransmits, f.Sock.Backoff = flow.RoleClient, 2, 1
	f.Sock.RTO, f.Sock.SRTT, f.Sock.LastReceive, f.Sock.SendWindow = 2*time.Second, 0, -1, 0
	f.Sock.SndUna, f.Sock.SndNxt, f.Sock.WriteSeq = 100, 101, 101
	f.Owner = holder(4711, 9, "curl", "/usr/bin/curl", "curl")
	f.GivesUp = finding.GivesUp{Known: true, In: 124*time.Second + 250*time.Millisecond}
	f.Message = "SYN_SENT for 3s: curl (pid 4711, fd 9) got no reply to 3 SYNs from 203.0.113.9:443; the kernel gives up in 2m4s"
	return f
}

func halfClosed() finding.Finding {
	f := base(finding.FinWait2Dangling, finding.HalfClosed, 30*time.Second, 30*time.Second)
	f.Sock = sock(flow.StateFinWait2, "127.0.0.1:5432", "127.0.0.1:39214")
	f.Sock.Role = flow.RoleServer
	f.Owner = holder(812, 14, "postgres", "/usr/lib/postgresql/15/bin/postgres", "postgres")
	f.GivesUp = finding.GivesUp{Known: true, Never: true}
	f.Workload = &finding.Workload{ContainerID: "77aa1c0b7e52a94d13c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f", Container: "db"}
	f.Peer = &finding.Peer{State: flow.StateCloseWait, Owner: holder(99, 7, "worker", "/srv/worker", "worker")}
	f.Peer.Workload = &finding.Workload{
		ContainerID: "91d3c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f2f6a1c0b7e52a9",
		Namespace:   "shop", Pod: "worker-0",
	}
	f.Message = "FIN_WAIT2 for 30s: postgres (pid 812, fd 14) has finished sending to 127.0.0.1:39214, which has not finished in turn; the other end is CLOSE_WAIT, held by worker (pid 99, fd 7); the kernel will never end it"
	return f
}

func orphaned() finding.Finding {
	f := base(finding.FinWait2Dangling, finding.Orphaned, 41*time.Second, 30*time.Second)
	f.Sock = sock(flow.StateFinWait2, "[2001:db8:0:1::17]:33810", "[2001:db8:0:2::443]:8443")
	f.Sock.TimeWait, f.Sock.HasSocket, f.Sock.Inode, f.Sock.Role = true, false, 0, flow.RoleClient
	f.Owner.Process = finding.Process{
		Task:       flow.Task{PID: 901, TID: 907, UID: 0, Comm: "sync-worker"},
		Executable: "sync", Path: "/opt/sync/bin/sync", Relation: finding.RelationCloser, FD: -1,
	}
	f.GivesUp = finding.GivesUp{Known: true, In: 19 * time.Second}
	f.Message = "FIN_WAIT2 for 41s: closed by sync (pid 901), [2001:db8:0:2::443]:8443 does not close its side; the kernel ends it in 19s"
	return f
}

func closeWait() finding.Finding {
	f := base(finding.CloseWaitSilent, finding.EOFIgnored, 31*time.Second, 30*time.Second)
	f.Sock = sock(flow.StateCloseWait, "10.0.0.1:52100", "10.0.0.5:443")
	f.Sock.Role = flow.RoleClient
	f.Owner = holder(812, 14, "api", "/srv/api", "api")
	f.Workload = &finding.Workload{
		ContainerID: "2f6a1c0b7e52a94d13c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f", Container: "api",
		Namespace: "shop", Pod: "api-7c9d8b6f5-x2x4q", PodUID: "0e4a1b62-8c1d-4a55-9d0f-3f2b8c7d6e5a",
	}
	f.GivesUp = finding.GivesUp{Known: true, Never: true}
	f.Message = "CLOSE_WAIT for 31s: api (pid 812, fd 14) has nothing left to read from 10.0.0.5:443 and has not closed; the kernel will never end it"
	return f
}

func closeWaitUpdate() finding.Finding {
	f := closeWait()
	f.Reason, f.Status, f.SinceExact = finding.EOFUnread, finding.Update, false
	f.Duration, f.Since = 26*time.Hour+2*time.Minute, Now.Add(-26*time.Hour-2*time.Minute)
	f.Sock.RcvNxt, f.Sock.CopiedSeq = 12_401, 0
	for i := range uint32(finding.MaxHolders) {
		f.Owner.Holders = append(f.Owner.Holders, flow.Holder{Task: flow.Task{PID: 820 + i}, FD: 3})
	}
	f.Owner.Holders, f.Owner.Total = f.Owner.Holders[:finding.MaxHolders], 40
	f.Message = "CLOSE_WAIT for 26h2m: api (pid 812, fd 14) and 39 other holders do not read 12400 bytes and the end of file from 10.0.0.5:443; the kernel will never end it"
	return f
}

func unaccepted() finding.Finding {
	f := base(finding.CloseWaitSilent, finding.Unaccepted, 35*time.Second, 30*time.Second)
	f.Sock = sock(flow.StateCloseWait, "10.0.0.1:8080", "10.0.0.77:61022")
	f.Sock.HasSocket, f.Sock.Inode, f.Sock.Role, f.Sock.NetNS = false, 0, flow.RoleServer, 4026532281
	f.Owner.Process = finding.Process{
		Task:       flow.Task{PID: 77, TID: 77, UID: 33, Comm: "nginx: worker"},
		Executable: "nginx", Path: "/usr/sbin/nginx", Relation: finding.RelationListener, FD: 6,
	}
	f.Message = "CLOSE_WAIT for 35s: nginx (pid 77, fd 6) listens on 10.0.0.1:8080 and never accepted the connection of 10.0.0.77:61022"
	return f
}

func established() finding.Finding {
	f := base(finding.EstablishedStalled, finding.PeerSilent, 15*time.Second+500*time.Millisecond, 15*time.Second)
	f.Sock = sock(flow.StateEstablished, "10.0.0.1:50022", "198.51.100.4:5671")
	f.Sock.Role, f.Sock.Retransmits, f.Sock.Backoff = flow.RoleClient, 6, 6
	f.Sock.SndUna, f.Sock.SndNxt, f.Sock.WriteSeq = 4_294_967_000, 1_152, 65_536
	f.Sock.RTO = 13*time.Second + 56*time.Millisecond
	f.Owner = holder(3021, 31, "rabbit-pub", "/usr/bin/python3.11", "python3.11")
	f.GivesUp = finding.GivesUp{Known: true, In: 15*time.Minute + 9*time.Second}
	f.Message = "ESTABLISHED and stalled for 15s: 198.51.100.4:5671 does not acknowledge 1448 bytes of python3.11 (pid 3021, fd 31); the kernel gives up in 15m9s"
	return f
}

func closing() finding.Finding {
	f := base(finding.ClosingStalled, finding.ZeroWindow, 61*time.Second, 60*time.Second)
	f.Sock = sock(flow.StateFinWait1, "10.0.0.1:9000", "10.0.0.9:40000")
	f.Sock.Dead, f.Sock.HasSocket, f.Sock.Inode, f.Sock.SendWindow = true, false, 0, 0
	f.Sock.SndUna, f.Sock.SndNxt, f.Sock.WriteSeq = 1000, 1000, 9193
	f.GivesUp = finding.GivesUp{Known: true, In: -3 * time.Millisecond}
	f.Message = "FIN_WAIT1 for 1m1s: 10.0.0.9:40000 does not read the last 8192 bytes; closed by its program"
	return f
}

func resolved() finding.Finding {
	f := closeWait()
	f.Status, f.Outcome, f.Live = finding.Resolved, finding.OutcomeClosed, false
	f.Duration, f.Since = 4*time.Minute+12*time.Second, Now.Add(-4*time.Minute-12*time.Second)
	f.Message = "CLOSE_WAIT ended after 4m12s: api (pid 812, fd 14) closed the connection to 10.0.0.5:443"
	return f
}

// healthy is a socket that list --all shows and that is no finding.
func healthy() finding.Finding {
	f := base(finding.KindNone, finding.ReasonNone, 5*time.Minute, 0)
	f.ID, f.SinceExact = "", false
	f.Sock = sock(flow.StateEstablished, "10.0.0.1:22", "10.0.0.3:51000")
	f.Owner = holder(640, 4, "sshd", "/usr/sbin/sshd", "sshd")
	return f
}

func resolvedGone() finding.Finding {
	f := synSent()
	f.Status, f.Live, f.Owner, f.GivesUp = finding.Resolved, false, noOwner(), finding.GivesUp{}
	f.Message = "SYN_SENT ended: the socket is gone"
	return f
}

// Transitions returns one transition of each sort.
func Transitions() []finding.Transition {
	connect := finding.Transition{
		Time: Now, ID: sock(flow.StateSynSent, "10.0.0.1:45678", "203.0.113.9:443").ID,
		Role: flow.RoleClient, Old: flow.StateClose, New: flow.StateSynSent, Previous: -1,
		Task: flow.Task{PID: 4711, TID: 4711, UID: 1000, Comm: "curl"},
	}
	unbound := connect
	unbound.Local = netip.AddrPortFrom(connect.Local.Addr(), 0)
	softirq := connect
	softirq.Old, softirq.New, softirq.Previous = flow.StateEstablished, flow.StateCloseWait, 4_012_345*time.Microsecond
	softirq.Task = flow.Task{}
	resent := softirq
	resent.Old, resent.New, resent.Retransmit, resent.Retransmits = flow.StateSynSent, flow.StateSynSent, true, 3
	resent.RetransmitKind = flow.RetransmitSyn
	resent.Previous = 7*time.Second + 15*time.Millisecond
	tail := resent
	tail.Old, tail.New, tail.Retransmits, tail.RetransmitKind = flow.StateEstablished, flow.StateEstablished, 0, flow.RetransmitTLP
	listen := connect
	listen.Local, listen.Peer = netip.MustParseAddrPort("[::]:8080"), netip.MustParseAddrPort("[::]:0")
	listen.Role, listen.Cookie, listen.New = flow.RoleUnknown, 0, flow.StateListen
	six := softirq
	six.Local, six.Peer = netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:50000"), netip.MustParseAddrPort("[2001:db8::443]:443")
	hostile := connect
	hostile.Task.Comm = HostileComm
	failed := unbound
	failed.Old, failed.New, failed.Previous = flow.StateSynSent, flow.StateClose, 11*time.Microsecond
	failed.Task, failed.Outcome = flow.Task{}, finding.OutcomePortExhausted
	return []finding.Transition{connect, unbound, softirq, resent, tail, listen, six, hostile, failed}
}

// Losses returns the sorts of loss records.
func Losses() []finding.Loss {
	return []finding.Loss{
		{Time: Now, Where: "ring_buffer", Count: 1234, Reread: true, Message: "1234 records lost, the ring buffer was full; all sockets were read again"},
		{Time: Now, Where: "old_generation", Count: 1, Message: "1 sockets found the old generation full; none is missed, they are watched by reading them"},
	}
}

// Groups returns the sorts of group records.
func Groups() []finding.Group {
	f := closeWait()
	first := finding.Group{
		ID: "a07c0b7e52a94d13c8f1", Kind: finding.CloseWaitSilent, Time: Now, Count: 140, Opened: 120,
		Oldest: 31 * time.Second, Samples: []string{"6f1c0b7e52a94d13", "7f1c0b7e52a94d13"},
		Process: f.Owner.Process, Workload: f.Workload, Role: flow.RoleClient, Service: f.Sock.Peer,
		Message: "140 sockets in CLOSE_WAIT of api (pid 812) in pod shop/api-7c9d8b6f5-x2x4q to 10.0.0.5:443, the oldest for 31s; 120 of them have no records of their own",
	}
	first.Stack = &finding.Stack{Of: finding.StackEOFRead, Frames: []finding.Frame{{Function: "main.handleUpload", File: "/src/api/upload.go", Line: 42}}}
	grown := first
	grown.Status, grown.Count, grown.Opened, grown.Resolved = finding.Update, 162, 150, 8
	grown.Growth, grown.GrowthKnown, grown.Process.PID, grown.Oldest = 132, true, 0, 41*time.Second
	grown.Role, grown.Service = flow.RoleServer, f.Sock.Local
	grown.Message = "162 sockets in CLOSE_WAIT of api in pod shop/api-7c9d8b6f5-x2x4q that serves 10.0.0.1:52100, the oldest for 41s; 132 more a minute; 142 of them have no records of their own"
	over := first
	over.Status, over.Count, over.Opened, over.Resolved = finding.Resolved, 0, 150, 150
	over.Samples, over.Oldest, over.Service = nil, 0, netip.AddrPort{}
	over.Process, over.Workload, over.Growth, over.GrowthKnown = noOwner().Process, nil, -162.25, true
	over.Message = "all 150 sockets in CLOSE_WAIT that had no records of their own ended"
	return []finding.Group{first, grown, over}
}
