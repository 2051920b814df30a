package tracer

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// pinVersion changes with the meaning or the layout of what is pinned.
const pinVersion = 1

// pinKey is that of an open finding, its id, or of a socket that is not flagged.
type pinKey [24]byte

const (
	pinFinding = 1
	pinSocket  = 2
	// pinPath is how much of a program's path is kept.
	pinPath = 192
)

// pinned is a flow.Kept as it stands in the map: fixed in size, the same on all
// architectures. Texts end with the first zero.
type pinned struct {
	Version               uint32
	State, TimeWait, Role uint8
	Grouped               uint8
	FindingID             [20]byte
	Reason, Relation      [24]byte
	Exact, Polled         uint8
	_                     [2]byte

	Addr, Cookie, CgroupID, Inode     uint64
	Local, Peer                       [16]byte
	LocalPort, PeerPort               uint16
	NetNS                             uint32
	Since, Wall, NextUpdate, Interval int64
	Threshold                         int64
	SndUna, CopiedSeq, RcvNxt         uint32
	FD                                int32
	Task, Owner                       pinnedTask
	Path                              [pinPath]byte
}

type pinnedTask struct {
	PID, TID, UID, _ uint32
	Start            int64
	Comm             [16]byte
}

var pinnedSize = binary.Size(pinned{})

func keyOf(k *flow.Kept) (key pinKey, err error) {
	if k.FindingID == "" {
		key[0] = pinSocket
		binary.LittleEndian.PutUint64(key[8:], k.Sock.Addr)
		binary.LittleEndian.PutUint64(key[16:], k.Sock.Cookie)
		return key, nil
	}
	key[0] = pinFinding
	id, err := hex.DecodeString(k.FindingID)
	if err != nil || len(id) > len(key)-8 {
		return key, fmt.Errorf("keeping a finding: %q is no id", k.FindingID)
	}
	copy(key[8:], id)
	return key, nil
}

// encodeKept writes the value of the map.
func encodeKept(k *flow.Kept) ([]byte, error) {
	p := pinned{
		Version: pinVersion, State: uint8(k.State), TimeWait: flag(k.TimeWait), Role: uint8(k.Role), Exact: flag(k.Exact), Polled: flag(k.Polled),
		Grouped: flag(k.Grouped),
		Addr:    k.Sock.Addr, Cookie: k.Sock.Cookie, CgroupID: k.Sock.CgroupID, Inode: k.Inode,
		Local: k.Sock.Local.Addr().As16(), Peer: k.Sock.Peer.Addr().As16(),
		LocalPort: k.Sock.Local.Port(), PeerPort: k.Sock.Peer.Port(), NetNS: k.Sock.NetNS,
		Since: int64(k.Since), Wall: k.Wall.UnixNano(),
		NextUpdate: int64(k.NextUpdate), Interval: int64(k.Interval), Threshold: int64(k.Threshold),
		SndUna: k.SndUna, CopiedSeq: k.CopiedSeq, RcvNxt: k.RcvNxt, FD: k.FD,
		Task: encodeTask(&k.Task), Owner: encodeTask(&k.Owner),
	}
	copy(p.FindingID[:], k.FindingID)
	copy(p.Reason[:], k.Reason)
	copy(p.Relation[:], k.Relation)
	// A path that is cut would be another one.
	if len(k.Path) <= pinPath {
		copy(p.Path[:], k.Path)
	}
	return binary.Append(make([]byte, 0, pinnedSize), binary.LittleEndian, &p)
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func encodeTask(t *flow.Task) pinnedTask {
	p := pinnedTask{PID: t.PID, TID: t.TID, UID: t.UID, Start: int64(t.StartBoot)}
	copy(p.Comm[:], t.Comm)
	return p
}

func (p *pinnedTask) task() flow.Task {
	return flow.Task{PID: p.PID, TID: p.TID, UID: p.UID, Comm: untilZero(p.Comm[:]), StartBoot: time.Duration(p.Start)}
}

func untilZero(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// errPinned says that a value is none of this version's.
var errPinned = errors.New("decoding kept state: not of this version")

func decodeKept(b []byte, k *flow.Kept) error {
	var p pinned
	if n, err := binary.Decode(b, binary.LittleEndian, &p); err != nil || n != len(b) || p.Version != pinVersion ||
		p.State >= uint8(flow.StateMax) || p.Role > uint8(flow.RoleServer) {
		return errPinned
	}
	*k = flow.Kept{
		FindingID: untilZero(p.FindingID[:]), State: flow.State(p.State), TimeWait: p.TimeWait != 0, Role: flow.Role(p.Role),
		Sock: flow.ID{
			Key:   flow.Key{Addr: p.Addr, Cookie: p.Cookie},
			Local: netip.AddrPortFrom(netip.AddrFrom16(p.Local).Unmap(), p.LocalPort),
			Peer:  netip.AddrPortFrom(netip.AddrFrom16(p.Peer).Unmap(), p.PeerPort),
			NetNS: p.NetNS, CgroupID: p.CgroupID,
		},
		Since: time.Duration(p.Since), Exact: p.Exact != 0, Polled: p.Polled != 0, Grouped: p.Grouped != 0, Task: p.Task.task(),
		Reason: untilZero(p.Reason[:]), Wall: time.Unix(0, p.Wall),
		NextUpdate: time.Duration(p.NextUpdate), Interval: time.Duration(p.Interval), Threshold: time.Duration(p.Threshold),
		SndUna: p.SndUna, CopiedSeq: p.CopiedSeq, RcvNxt: p.RcvNxt, Inode: p.Inode,
		Owner: p.Owner.task(), Relation: untilZero(p.Relation[:]), FD: p.FD, Path: untilZero(p.Path[:]),
	}
	return nil
}
