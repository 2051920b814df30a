package listing

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

const (
	hostNS  = 4026531840
	otherNS = 4026532001
)

var now = time.Date(2026, 3, 9, 7, 5, 4, 0, time.UTC)

// fakeKernel has sockets and descriptors.
type fakeKernel struct {
	socks      []flow.Sock
	held       []flow.Held
	walkErr    error
	holdersErr error
	readErr    error
	// after changes what the second reading shows.
	after     func(*flow.Sock)
	facingErr error
	want      flow.WalkStates
	causesErr error

	// silent are sockets whose next hop does not answer, addresses those of the
	// namespace that a socket is in.
	silent    []uint64
	addresses map[flow.Key][]netip.Addr
}

func (k *fakeKernel) Walk(want flow.WalkStates, fn func(*flow.Sock)) error {
	k.want = want
	for _, s := range k.socks {
		healthy := s.TimeWait && s.State == flow.StateTimeWait
		// A walk may show more than it was asked for.
		if !healthy || want.TimeWait {
			fn(&s)
		}
	}
	return k.walkErr
}

func (k *fakeKernel) Causes(socks []*flow.Sock) error {
	for _, s := range socks {
		s.SYN.NextHopSilent = slices.Contains(k.silent, s.Addr)
	}
	return k.causesErr
}

func (k *fakeKernel) HasAddress(sock flow.Key, addr netip.Addr) (bool, error) {
	return slices.Contains(k.addresses[sock], addr), nil
}

// Read shows what after says, else what Walk showed.
func (k *fakeKernel) Read(socks []*flow.Sock, track bool) error {
	if track {
		panic("list tracks nothing")
	}
	for _, s := range socks {
		i := slices.IndexFunc(k.socks, func(is flow.Sock) bool { return is.Key == s.Key })
		*s = k.socks[i]
		if k.after != nil {
			k.after(s)
		}
	}
	return k.readErr
}

func (k *fakeKernel) Facing(_ []*flow.Sock, fn func(*flow.Sock)) error {
	for _, s := range k.socks {
		fn(&s)
	}
	return k.facingErr
}

func (k *fakeKernel) Holders(want flow.Wanted, fn func(*flow.Held)) error {
	for _, h := range k.held {
		if want.States.Has(h.State) || slices.Contains(want.Socks, h.Addr) ||
			(h.State == flow.StateListen && slices.Contains(want.Ports, h.Local.Port())) {
			fn(&h)
		}
	}
	return k.holdersErr
}

// sock is a socket of pid (0: nobody's) that has been in its state for age.
func (k *fakeKernel) sock(state flow.State, port uint16, age time.Duration, pid uint32) *flow.Sock {
	n := uint64(len(k.socks) + 1)
	s := flow.Sock{
		ID: flow.ID{
			Key:   flow.Key{Addr: n << 12, Cookie: n},
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port),
			Peer:  netip.MustParseAddrPort("10.0.0.2:443"), NetNS: hostNS,
		},
		State: state, HasSocket: pid != 0, Dead: pid == 0, Role: flow.RoleClient, SendWindow: 65535,
		Waiting: age, LastAck: age, LastSend: age + time.Hour,
	}
	k.socks = append(k.socks, s)
	if pid != 0 {
		k.held = append(k.held, flow.Held{
			Key: s.Key, State: state, Local: s.Local, NetNS: s.NetNS,
			Holder: flow.Holder{Task: flow.Task{PID: pid, TID: pid, Comm: fmt.Sprintf("p%d", pid)}, FD: 3},
		})
	}
	return &k.socks[len(k.socks)-1]
}

func (k *fakeKernel) listener(local string, ns, pid, fd uint32) {
	k.held = append(k.held, flow.Held{
		Key:   flow.Key{Addr: 0xa0000 + uint64(pid), Cookie: 1000 + uint64(pid)},
		State: flow.StateListen, Local: netip.MustParseAddrPort(local), NetNS: ns, AcceptQueue: 2, AcceptLimit: 128,
		Holder: flow.Holder{Task: flow.Task{PID: pid, TID: pid, Comm: fmt.Sprintf("p%d", pid)}, FD: fd},
	})
}

// host is one of everything.
func host() *fakeKernel {
	k := new(fakeKernel)
	k.sock(flow.StateSynSent, 1001, 4*time.Second, 10)
	k.sock(flow.StateCloseWait, 1002, 90*time.Second, 11)
	k.sock(flow.StateFinWait2, 1003, 40*time.Second, 12)
	tw := k.sock(flow.StateFinWait2, 1004, 50*time.Second, 0)
	tw.TimeWait, tw.Expires = true, 10*time.Second
	k.sock(flow.StateLastAck, 1005, 70*time.Second, 0)
	k.sock(flow.StateFinWait1, 1006, 60*time.Second, 0)
	k.sock(flow.StateClosing, 1007, 65*time.Second, 0)
	k.sock(flow.StateEstablished, 1008, time.Hour, 11)
	k.sock(flow.StateTimeWait, 1009, 20*time.Second, 0).TimeWait = true
	k.sock(flow.StateCloseWait, 1010, 10*time.Millisecond, 11)
	k.sock(flow.StateCloseWait, 1011, 30*time.Second, 13).NetNS = otherNS
	k.held[len(k.held)-1].NetNS = otherNS
	waits := k.sock(flow.StateCloseWait, 80, 35*time.Second, 0)
	waits.Dead, waits.Role = false, flow.RoleUnknown
	k.listener("[::]:80", hostNS, 20, 5)
	k.listener("0.0.0.0:81", otherNS, 21, 6)
	return k
}
