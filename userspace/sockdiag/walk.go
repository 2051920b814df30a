package sockdiag

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/detect"
)

// place is what one dump shows.
type place struct {
	netns  uint32
	family uint8
}

// begin makes a walk begin anew.
func (s *Source) begin() {
	s.spaces.refresh()
	s.queues = flow.WriteQueues{}
	s.places = s.places[:0]
	for _, netns := range s.spaces.order {
		s.places = append(s.places, place{netns, unix.AF_INET}, place{netns, unix.AF_INET6})
	}
}

// Walk calls fn for every socket that is wanted, in all network namespaces. The
// socket is only valid during the call, and fn must not call the Source.
func (s *Source) Walk(want flow.WalkStates, fn func(*flow.Sock)) error {
	s.begin()
	for done := false; !done; {
		var err error
		if done, err = s.WalkSome(want, fn); err != nil {
			return err
		}
	}
	return nil
}

// WalkSome does a part of a walk, one namespace and family, and reports whether it
// was the last.
func (s *Source) WalkSome(want flow.WalkStates, fn func(*flow.Sock)) (done bool, err error) {
	if len(s.places) == 0 {
		s.begin()
	}
	p := s.places[0]
	s.places = s.places[1:]
	states := want.States
	if want.TimeWait {
		states |= flow.StateTimeWait.Bit()
	}
	// Listeners are not in the table of connections; Holders shows them.
	err = s.dump(p, states&^flow.StateListen.Bit(), func(sock *flow.Sock) {
		if sock.State == flow.StateEstablished {
			s.addQueue(sock)
		}
		if wanted(&want, sock) {
			fn(sock)
		}
	})
	return len(s.places) == 0, err
}

// dump shows the sockets of one place; none where there is nothing to enter any more.
func (s *Source) dump(p place, states flow.StateSet, fn func(*flow.Sock)) error {
	if states == 0 {
		return nil
	}
	err := s.inside(p.netns, func() error { return s.conn.dump(p.family, states, s.take(p.netns, fn)) })
	if errors.Is(err, errGone) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// wanted is the filter that the tracer has in the kernel.
func wanted(want *flow.WalkStates, s *flow.Sock) bool {
	if s.State != flow.StateEstablished || !want.Waiting {
		return true
	}
	if want.Idle > 0 && !s.Keepalive && min(s.LastReceive, s.LastAck) >= want.Idle && (s.LastSend < 0 || s.LastSend >= want.Idle) {
		return true
	}
	if !detect.Waits(s) {
		return false
	}
	// A transfer that moves gets ACKs all the time, and its timer does not fire.
	return detect.Waiting(s) || detect.Unaccepted(s) || s.LastAck >= want.Quiet ||
		s.SendWindow == 0 || s.Retransmits > 0 || s.Pending == pendingProbe
}

func (s *Source) addQueue(sock *flow.Sock) {
	if sock.WriteSeq == sock.SndUna {
		return
	}
	q := &s.queues
	q.Sockets++
	q.Unsent += uint64(sock.Unsent())
	q.Unacked += uint64(sock.Unacked())
	q.Busy = max(q.Busy, sock.Busy)
	q.Quiet = max(q.Quiet, min(sock.LastAck, sock.Busy))
}

// Facing calls fn for the connections whose addresses are those of one of socks the
// other way round, in the same network namespace. In another one the same addresses
// may be another connection's; the sequence numbers, which would tell, are not known.
func (s *Source) Facing(socks []*flow.Sock, fn func(*flow.Sock)) error {
	bySpace := map[uint32][]*flow.Sock{}
	for _, sock := range socks {
		if sock.Peer.Port() != 0 {
			bySpace[sock.NetNS] = append(bySpace[sock.NetNS], sock)
		}
	}
	for netns, some := range bySpace {
		err := s.inside(netns, func() error { return s.facing(netns, some, fn) })
		if err != nil && !errors.Is(err, errGone) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func (s *Source) facing(netns uint32, socks []*flow.Sock, fn func(*flow.Sock)) error {
	for _, sock := range socks {
		id := flow.ID{Local: sock.Peer, Peer: sock.Local, NetNS: netns}
		id.Cookie = 1<<64 - 1 // any
		_, err := s.conn.get(&id, 0, s.take(netns, func(end *flow.Sock) {
			// Where there is no such connection, its listener answers.
			if end.Local == id.Local && end.Peer == id.Peer {
				fn(end)
			}
		}))
		if err != nil {
			return err
		}
	}
	return nil
}
