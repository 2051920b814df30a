package workload

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// smallBuffer is SO_RCVBUF of a peer that is to show a zero window soon.
const smallBuffer = 4 << 10

// makeClosing leaves our FIN unacknowledged.
func (s *Set) makeClosing(sk *sock) error {
	switch s.spec.Kind {
	case FinWait1ZeroWindow:
		return s.makeZeroWindow(sk)
	case LastAck:
		return s.makeLastAck(sk)
	}
	if err := deafen(sk.peer); err != nil {
		return err
	}
	from := now()
	if err := s.finish(sk); err != nil {
		return err
	}
	if s.spec.Kind == FinWait1 {
		sk.truth.stuck(finUnacked, from, now())
		return s.orphanIfClosed(sk)
	}
	return s.crossFIN(sk)
}

// finish sends our FIN: the descriptor stays where the Spec says so, and for
// Closing until the peer's FIN has arrived.
func (s *Set) finish(sk *sock) error {
	if err := unix.Shutdown(sk.fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	return nil
}

// orphanIfClosed closes the descriptor unless the Spec keeps it. The FIN is
// on its way already, so the state does not change.
func (s *Set) orphanIfClosed(sk *sock) error {
	if s.spec.Shutdown {
		return nil
	}
	if err := unix.Close(sk.fd); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	sk.fd = -1
	sk.truth.closed()
	return nil
}

// crossFIN lets the peer, which has not heard our FIN, send its own: we are
// in CLOSING, and the peer stays in FIN_WAIT1.
func (s *Set) crossFIN(sk *sock) (err error) {
	if sk.other, err = s.describePeer(sk); err != nil {
		return err
	}
	from := now()
	if err := unix.Shutdown(sk.peer, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutting down the peer: %w", err)
	}
	if err := waitState(sk.fd, tcpClosing); err != nil {
		return err
	}
	to := now()
	if err := waitState(sk.peer, tcpFinWait1); err != nil {
		return err
	}
	sk.truth.stuck(closingUnacked, from, to)
	sk.other.stuck(finUnacked, from, to)
	return s.orphanIfClosed(sk)
}

// makeLastAck answers the peer's FIN with one that the peer never hears.
func (s *Set) makeLastAck(sk *sock) (err error) {
	if sk.other, err = s.describePeer(sk); err != nil {
		return err
	}
	from := now()
	if err := unix.Shutdown(sk.peer, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutting down the peer: %w", err)
	}
	if err := takeFIN(sk.fd); err != nil {
		return err
	}
	if err := waitState(sk.peer, tcpFinWait2); err != nil {
		return err
	}
	sk.other.stuck(halfClosed, from, now())
	if err := deafen(sk.peer); err != nil {
		return err
	}
	from = now()
	if err := s.finish(sk); err != nil {
		return err
	}
	sk.truth.stuck(lastAckUnacked, from, now())
	return s.orphanIfClosed(sk)
}

// makeZeroWindow fills the peer's receive buffer and finishes: the FIN waits
// behind data.
func (s *Set) makeZeroWindow(sk *sock) error {
	chunk := make([]byte, 16<<10)
	for {
		_, err := unix.SendmsgN(sk.fd, chunk, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("filling the peer's receive buffer: %w", err)
		}
	}
	from := now()
	if err := s.finish(sk); err != nil {
		return err
	}
	sk.truth.stuck(finUnsent, from, now())
	return s.orphanIfClosed(sk)
}

// endClosing ends sockets that wait for the acknowledgement of their FIN.
func (s *Set) endClosing(sk *sock, how End) error {
	if how == EndReset {
		// Repair mode: the reset is the kernel's answer to the next
		// retransmission or probe, as after a crash of the peer.
		err := vanish(sk.peer)
		sk.peer = -1
		sk.truth.Outcome = "reset"
		if sk.other != nil {
			sk.other.Outcome = "closed"
		}
		return err
	}
	if err := s.hearAgain(sk); err != nil {
		return err
	}
	if sk.truth.State == "fin_wait_1" {
		// FIN_WAIT2 is next; the peer finishes too once all are there.
		sk.truth.Outcome = "recovered"
		return nil
	}
	closeAll(sk.peer)
	sk.peer = -1
	sk.truth.Outcome = "closed"
	if sk.other != nil {
		sk.other.Outcome = "closed"
	}
	return nil
}

// hearAgain lets the peer take what it did not take.
func (s *Set) hearAgain(sk *sock) error {
	if s.spec.Kind == FinWait1ZeroWindow {
		return drain(sk.peer)
	}
	return undeafen(sk.peer)
}

// drain reads until the end of file.
func drain(fd int) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := read(fd, buf)
		if err != nil {
			return fmt.Errorf("draining the receive buffer: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
}
