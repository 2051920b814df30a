package peer

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

const (
	hostNS  = 4026531840
	otherNS = 4026532001
	thirdNS = 4026532002
)

// sock is a socket at addr that has sent up to sent and got up to got.
func sock(addr uint64, netns uint32, local, peer string, state flow.State, sent, got uint32) flow.Sock {
	return flow.Sock{
		ID: flow.ID{
			Key:   flow.Key{Addr: addr, Cookie: addr + 1},
			Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer), NetNS: netns,
		},
		State: state, HasSocket: true, SndUna: sent, SndNxt: sent, WriteSeq: sent, RcvNxt: got, CopiedSeq: got,
	}
}

const (
	here  = "10.1.0.1:40000"
	there = "10.1.0.2:443"
	lo1   = "127.0.0.1:40000"
	lo2   = "127.0.0.1:443"
)

// source is a host's table. As the kernel's filter it shows all of it.
type source struct {
	socks []flow.Sock
	walks int
	err   error
}

func (s *source) Facing(_ []*flow.Sock, fn func(*flow.Sock)) error {
	s.walks++
	for i := range s.socks {
		c := s.socks[i]
		fn(&c)
		c = flow.Sock{} // only valid during the call
	}
	return s.err
}

func TestFind(t *testing.T) {
	us := sock(1, hostNS, here, there, flow.StateFinWait2, 1000, 5000)
	onLoopback := sock(1, hostNS, lo1, lo2, flow.StateFinWait2, 1000, 5000)
	minisocket := us
	minisocket.TimeWait, minisocket.HasSocket, minisocket.Dead = true, false, true
	sending := us
	sending.SndUna, sending.SndNxt = 0xffffff00, 0x200 // past the end of the numbers
	connecting := us
	connecting.State = flow.StateSynSent
	self := sock(1, hostNS, lo1, lo1, flow.StateFinWait2, 1000, 1000)

	for _, tt := range []struct {
		name  string
		sock  flow.Sock
		table []flow.Sock
		want  uint64 // address, 0: none
	}{
		{"in the same namespace", us, []flow.Sock{sock(2, hostNS, there, here, flow.StateCloseWait, 5000, 1000)}, 2},
		{"in another namespace", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000)}, 2},
		{"of a minisocket", minisocket, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000)}, 2},
		{"with data on the way", sending, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 0x10)}, 2},
		{"nothing", us, nil, 0},
		{"only itself", us, []flow.Sock{us}, 0},
		{"connected to itself", self, []flow.Sock{self}, 0},
		{"other port", us, []flow.Sock{sock(2, otherNS, "10.1.0.2:444", here, flow.StateCloseWait, 5000, 1000)}, 0},
		{"other address", us, []flow.Sock{sock(2, otherNS, "10.1.0.3:443", here, flow.StateCloseWait, 5000, 1000)}, 0},
		{"the same way round", us, []flow.Sock{sock(2, otherNS, here, there, flow.StateCloseWait, 5000, 1000)}, 0},
		{"seen twice", us, []flow.Sock{
			sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000),
			sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000),
		}, 2},
		{"two that fit", us, []flow.Sock{
			sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000),
			sock(3, thirdNS, there, here, flow.StateCloseWait, 5000, 1000),
		}, 0},
		{"another connection of these addresses", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1<<30)}, 0},
		{"another one's other direction", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 1<<30, 1000)}, 0},
		{"two of these addresses, one fits", us, []flow.Sock{
			sock(2, otherNS, there, here, flow.StateCloseWait, 3<<30, 1<<30),
			sock(3, thirdNS, there, here, flow.StateCloseWait, 5000, 1000),
		}, 3},
		{"two of one moment", us, []flow.Sock{
			sock(2, otherNS, there, here, flow.StateCloseWait, 5100, 1100),
			sock(3, thirdNS, there, here, flow.StateCloseWait, 5000, 1000),
			sock(4, hostNS, there, here, flow.StateCloseWait, 4900, 900),
		}, 3},
		{"two that are near", us, []flow.Sock{
			sock(2, otherNS, there, here, flow.StateCloseWait, 5100, 1100),
			sock(3, thirdNS, there, here, flow.StateCloseWait, 4900, 900),
		}, 0},
		{"one that has moved on since", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000+1<<25, 1000)}, 2},
		{"a listener", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateListen, 5000, 1000)}, 0},
		{"of one that connects", connecting, []flow.Sock{sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000)}, 0},
		{"that connects", us, []flow.Sock{sock(2, otherNS, there, here, flow.StateSynSent, 5000, 1000)}, 0},
		{"on loopback", onLoopback, []flow.Sock{sock(2, hostNS, lo2, lo1, flow.StateCloseWait, 5000, 1000)}, 2},
		{"on another loopback", onLoopback, []flow.Sock{sock(2, otherNS, lo2, lo1, flow.StateCloseWait, 5000, 1000)}, 0},
		{"on every loopback", onLoopback, []flow.Sock{
			sock(2, otherNS, lo2, lo1, flow.StateCloseWait, 5000, 1000),
			sock(3, hostNS, lo2, lo1, flow.StateCloseWait, 5000, 1000),
			sock(4, thirdNS, lo2, lo1, flow.StateCloseWait, 5000, 1000),
		}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Find(&source{socks: tt.table}, []*flow.Sock{&tt.sock})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case got[0] == nil && tt.want != 0:
				t.Errorf("found nothing, want socket %d", tt.want)
			case got[0] != nil && got[0].Addr != tt.want:
				t.Errorf("found socket %d, want %d", got[0].Addr, tt.want)
			}
		})
	}
}

// What is confirmed was read at one moment, and is compared narrowly.
func TestJoined(t *testing.T) {
	a := sock(1, hostNS, here, there, flow.StateFinWait2, 1<<20, 5<<20)
	for _, tt := range []struct {
		sent, got uint32
		want      bool
	}{
		{5 << 20, 1 << 20, true},
		{5<<20 + 1<<16, 1 << 20, true},
		{5<<20 + 1<<16 + 1, 1 << 20, false},
		{5 << 20, 1<<20 - 1<<16, true},
		{5 << 20, 1<<20 - 1<<16 - 1, false},
		{5<<20 + 1<<31, 1 << 20, false},
		{5 << 20, 1<<20 + 1<<31, false},
	} {
		b := sock(2, otherNS, there, here, flow.StateCloseWait, tt.sent, tt.got)
		if Joined(&a, &b) != tt.want || Joined(&b, &a) != tt.want {
			t.Errorf("sent %#x, got %#x: %v", tt.sent, tt.got, !tt.want)
		}
	}
}

// Both ends of one connection, and a third socket, with one walk.
func TestFindMany(t *testing.T) {
	a := sock(1, hostNS, here, there, flow.StateFinWait2, 1000, 5000)
	b := sock(2, otherNS, there, here, flow.StateCloseWait, 5000, 1000)
	alone := sock(3, hostNS, "10.1.0.1:40001", there, flow.StateCloseWait, 1000, 5000)
	src := &source{socks: []flow.Sock{a, b, alone}}
	got, err := Find(src, []*flow.Sock{&a, &alone, &b})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] == nil || got[0].Addr != 2 || got[1] != nil || got[2] == nil || got[2].Addr != 1 {
		t.Errorf("found %v", got)
	}
	if src.walks != 1 {
		t.Errorf("%d walks for one question", src.walks)
	}
}

func TestFindNeedsNoWalk(t *testing.T) {
	connecting := sock(1, hostNS, here, there, flow.StateSynSent, 0, 0)
	gone := sock(1, hostNS, here, there, flow.StateCloseWait, 0, 0)
	gone.Gone = true
	src := &source{}
	got, err := Find(src, []*flow.Sock{&connecting, &gone})
	if err != nil || len(got) != 2 || got[0] != nil || got[1] != nil {
		t.Errorf("found %v, %v", got, err)
	}
	if src.walks != 0 {
		t.Errorf("%d walks for sockets without another end", src.walks)
	}
}

func TestFindFails(t *testing.T) {
	broken := errors.New("broken")
	a := sock(1, hostNS, here, there, flow.StateFinWait2, 1000, 5000)
	if _, err := Find(&source{err: broken}, []*flow.Sock{&a}); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestDescribe(t *testing.T) {
	holder := finding.Owner{Process: finding.Process{Task: flow.Task{PID: 99}, Relation: finding.RelationHolder, FD: 7}, Total: 1}
	listener := finding.Owner{Process: finding.Process{Task: flow.Task{PID: 98}, Relation: finding.RelationListener, FD: -1}}
	held := sock(2, hostNS, there, here, flow.StateCloseWait, 0, 0)
	orphan, unaccepted, minisocket := held, held, held
	orphan.Dead, orphan.HasSocket = true, false
	unaccepted.HasSocket = false
	minisocket.TimeWait, minisocket.Dead, minisocket.HasSocket = true, true, false
	for _, tt := range []struct {
		name  string
		sock  flow.Sock
		owner finding.Owner
		pid   uint32
		want  finding.Peer
	}{
		{"held", held, holder, 99, finding.Peer{}},
		{"in flight", held, finding.Owner{}, 0, finding.Peer{}},
		{"closed since", orphan, holder, 0, finding.Peer{Orphan: true}},
		{"unaccepted", unaccepted, listener, 0, finding.Peer{Unaccepted: true}},
		{"minisocket", minisocket, finding.Owner{}, 0, finding.Peer{Orphan: true}},
	} {
		p := Describe(&tt.sock, &tt.owner)
		if p.State != tt.sock.State || p.Orphan != tt.want.Orphan || p.Unaccepted != tt.want.Unaccepted || p.Owner.Process.PID != tt.pid {
			t.Errorf("%s: %+v", tt.name, p)
		}
		if tt.pid == 0 && p.Owner.Process.FD != -1 {
			t.Errorf("%s: descriptor %d of nobody", tt.name, p.Owner.Process.FD)
		}
	}
}
