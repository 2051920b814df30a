package tracer

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// testHZ is the tick rate the decoders are tested with; 300 divides nothing evenly.
const testHZ = 300

// reference decodes by reflection, which knows the offsets from the generated
// types alone.
func reference[T any](t testing.TB, b []byte) T {
	t.Helper()
	var v T
	if _, err := binary.Decode(b, binary.LittleEndian, &v); err != nil {
		t.Fatalf("decoding %T by reflection: %v", v, err)
	}
	return v
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		t.Fatalf("encoding %T: %v", v, err)
	}
	return b
}

func wantTask(pid, tid, uid uint32, comm [16]uint8) flow.Task {
	if pid == 0 {
		return flow.Task{}
	}
	name, _, _ := strings.Cut(string(comm[:]), "\x00")
	return flow.Task{PID: pid, TID: tid, UID: uid, Comm: name}
}

func wantAddr(addr [16]uint8, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
}

func wantEvent(r limboEvent) flow.Event {
	e := flow.Event{
		Kind:      flow.EventKind(r.Type),
		Time:      time.Duration(r.TimeNs),
		Since:     time.Duration(r.SinceNs),
		ID:        flow.ID{Key: flow.Key{Addr: r.Sk, Cookie: r.Cookie}, NetNS: r.Netns},
		Successor: r.Successor,
		Task:      wantTask(r.Task.Pid, r.Task.Tid, r.Task.Uid, r.Task.Comm),
		Old:       flow.State(r.OldState),
		New:       flow.State(r.NewState),
		TimeWait:  r.Flags&uint8(limboSockFlagSOCK_TIMEWAIT) != 0,
		Orphan:    r.Flags&uint8(limboSockFlagSOCK_ORPHAN) != 0,
		Untracked: r.Flags&uint8(limboSockFlagSOCK_UNTRACKED) != 0,
		Err:       r.Err,
		SoftErr:   r.ErrSoft,

		Retransmits: r.Retransmits,
		Retransmit:  flow.RetransmitKind(r.RetransmitKind),
	}
	if r.Type != uint8(limboEventTypeEVENT_PROMOTED) || r.Dport != 0 {
		e.Local, e.Peer = wantAddr(r.Saddr, r.Sport), wantAddr(r.Daddr, r.Dport)
	}
	return e
}

func wantJiffies(n uint32) time.Duration {
	if n == 1<<32-1 { // NEVER
		return -1
	}
	return time.Duration(n) * time.Second / testHZ
}

func wantSock(r limboSockValues) flow.Sock {
	has := func(f limboSockFlag) bool { return limboSockFlag(r.Flags)&f != 0 }
	s := flow.Sock{
		ID: flow.ID{
			Key:      flow.Key{Addr: r.Sk, Cookie: r.Cookie},
			Local:    wantAddr(r.Saddr, r.Sport),
			Peer:     wantAddr(r.Daddr, r.Dport),
			NetNS:    r.Netns,
			CgroupID: r.CgroupId,
		},
		State:       flow.State(r.State),
		Untracked:   has(limboSockFlagSOCK_UNTRACKED),
		Gone:        has(limboSockFlagSOCK_GONE),
		TimeWait:    has(limboSockFlagSOCK_TIMEWAIT),
		Dead:        has(limboSockFlagSOCK_ORPHAN),
		HasSocket:   has(limboSockFlagSOCK_HAS_SOCKET),
		Keepalive:   has(limboSockFlagSOCK_KEEPALIVE),
		Inode:       r.Inode,
		UID:         r.Uid,
		Err:         r.Err,
		SoftErr:     r.ErrSoft,
		Shutdown:    r.Shutdown,
		Retransmits: r.Retransmits,
		Backoff:     r.Backoff,
		ProbesOut:   r.ProbesOut,
		Pending:     r.Pending,
		SndUna:      r.SndUna,
		SndNxt:      r.SndNxt,
		WriteSeq:    r.WriteSeq,
		RcvNxt:      r.RcvNxt,
		CopiedSeq:   r.CopiedSeq,
		SendWindow:  r.SndWnd,
		SRTT:        time.Duration(r.SrttUs) * time.Microsecond,
		RTO:         wantJiffies(r.RtoJiffies),
		LastReceive: wantJiffies(r.ReceivedJiffies),
		LastAck:     wantJiffies(r.AckedJiffies),
		LastSend:    wantJiffies(r.SentJiffies),
		Waiting:     time.Duration(r.WaitingMs) * time.Millisecond,
		Expires:     -1,
		AcceptQueue: r.AcceptQueue,
		AcceptLimit: r.AcceptLimit,

		Busy:          wantJiffies(r.BusyJiffies),
		ReceiveMemory: r.ReceiveMemory,
		ReceiveBuffer: r.ReceiveBuffer,
	}
	s.Hash = r.Hash
	if r.MinRttUs != math.MaxUint32 {
		s.MinRTT = time.Duration(r.MinRttUs) * time.Microsecond
	}
	if has(limboSockFlagSOCK_CLIENT) {
		s.Role = flow.RoleClient
	}
	if has(limboSockFlagSOCK_TIMER) {
		s.Expires = wantJiffies(uint32(max(r.ExpiresJiffies, 0)))
	}
	s.Limits = wantLimits(r, wantJiffies)
	return s
}

func wantLimits(r limboSockValues, jiffies func(uint32) time.Duration) flow.Limits {
	l := flow.Limits{
		HZ:                testHZ,
		Jiffies:           r.Jiffies,
		RTOMax:            wantJiffies(r.RtoMaxJiffies),
		UserTimeout:       time.Duration(r.UserTimeoutMs) * time.Millisecond,
		Probing:           -1,
		FinTimeout:        -1,
		KeepaliveTime:     wantJiffies(r.KeepaliveJiffies),
		KeepaliveInterval: wantJiffies(r.IntervalJiffies),
		KeepaliveExpires:  -1,
		KeepaliveProbes:   r.KeepaliveProbes,
		SynRetries:        r.SynRetries,
		SynLinearTimeouts: r.SynLinearTimeouts,
		Retries2:          r.Retries2,
		OrphanRetries:     r.OrphanRetries,
	}
	if r.ProbingJiffies >= 0 {
		l.Probing = wantJiffies(uint32(r.ProbingJiffies))
	}
	if r.FinTimeoutJiffies >= 0 {
		l.FinTimeout = wantJiffies(uint32(r.FinTimeoutJiffies))
	}
	if r.KeepaliveTimer != 0 {
		l.KeepaliveExpires = wantJiffies(uint32(max(r.KeepaliveExpires, 0)))
	}
	return l
}

func wantHeld(r limboHolder) flow.Held {
	h := flow.Held{
		Key: flow.Key{Addr: r.Sk, Cookie: r.Cookie},
		Holder: flow.Holder{
			Task: wantTask(r.Task.Pid, r.Task.Tid, r.Task.Uid, r.Task.Comm),
			FD:   r.Fd,
		},
		State:       flow.State(r.State),
		Local:       wantAddr(r.Addr, r.Port),
		NetNS:       r.Netns,
		AcceptQueue: r.AcceptQueue,
		AcceptLimit: r.AcceptLimit,
	}
	h.StartBoot = time.Duration(r.StartNs)
	return h
}

// glanced is what a glance came to.
type glanced struct {
	is   flow.MoverIs
	sock flow.Sock
}

func wantGlance(r limboGlance) glanced {
	switch limboMoverIs(r.Is) {
	case limboMoverIsMOVER_MOVED:
	case limboMoverIsMOVER_STOPPED:
		return glanced{is: flow.MoverStopped}
	case limboMoverIsMOVER_GONE:
		return glanced{is: flow.MoverGone}
	default:
		return glanced{is: flow.MoverGone}
	}
	s := flow.Sock{
		State: flow.StateEstablished, HasSocket: true, Pending: r.Pending,
		SndUna: r.SndUna, SndNxt: r.SndNxt, WriteSeq: r.WriteSeq, RcvNxt: r.RcvNxt, CopiedSeq: r.CopiedSeq,
		LastReceive: wantJiffies(r.ReceivedJiffies), LastAck: wantJiffies(r.AckedJiffies), LastSend: wantJiffies(r.SentJiffies),
		Busy: wantJiffies(r.BusyJiffies), RTO: wantJiffies(r.RtoJiffies), Expires: -1,
	}
	s.Limits.Probing = wantJiffies(r.ProbingJiffies)
	return glanced{flow.MoverMoved, s}
}
