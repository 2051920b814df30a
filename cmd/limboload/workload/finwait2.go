package workload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// makeFinWait2 finishes our side; the peer acknowledges that and does nothing
// more.
func (s *Set) makeFinWait2(sk *sock) (err error) {
	if s.spec.Peers == PeersOrphaned {
		return fmt.Errorf("a peer that has closed is not in anybody's way: want peers gone or held")
	}
	if sk.other, err = s.describePeer(sk); err != nil {
		return err
	}
	from := now()
	if err := s.finishOurs(sk); err != nil {
		return err
	}
	if err := waitState(sk.peer, tcpCloseWait); err != nil {
		return err
	}
	to := now()
	sk.truth.stuck(s.ours(), from, to.add(delayedACK))
	if s.spec.Kind == FinWait2Orphaned {
		sk.truth.closed()
	}
	if s.spec.Peers == PeersHeld {
		sk.other.stuck(eofUnread, from, to)
		return nil
	}
	sk.other = nil
	if err := takeFIN(sk.peer); err != nil {
		return err
	}
	if sk.fd >= 0 {
		if err := waitState(sk.fd, tcpFinWait2); err != nil {
			return err
		}
	}
	err = vanish(sk.peer)
	sk.peer = -1
	return err
}

// finishOurs sends our FIN in the way of the kind.
func (s *Set) finishOurs(sk *sock) error {
	if s.spec.Kind == FinWait2HalfClosed {
		return s.finish(sk)
	}
	if s.spec.OrphanSeconds > 0 {
		if err := setLinger2(sk.fd, s.spec.OrphanSeconds); err != nil {
			return err
		}
	}
	if err := unix.Close(sk.fd); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	sk.fd = -1
	return nil
}

func (s *Set) ours() verdict {
	if s.spec.Kind == FinWait2HalfClosed {
		return halfClosed
	}
	return orphaned
}

// endFinWait2 ends sockets in FIN_WAIT2.
func (s *Set) endFinWait2(sk *sock, how End) error {
	switch how {
	case EndTimeout:
		// The kernel's doing; nothing to do but wait, and nobody to ask.
		sk.truth.Outcome = "timed_out"
		return nil
	case EndDestroy:
		return s.destroyed(sk)
	case EndReset:
		return s.resetByPeer(sk, "closed")
	}
	if sk.peer < 0 {
		return errPeerGone
	}
	closeAll(sk.peer)
	sk.peer = -1
	sk.truth.Outcome, sk.other.Outcome = "closed", "closed"
	return nil
}
