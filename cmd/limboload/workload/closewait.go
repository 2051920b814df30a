package workload

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func addrPortOf(f Family) netip.AddrPort { return netip.AddrPortFrom(f.loopback(), 0) }

// makeCloseWait lets the peer finish first.
func (s *Set) makeCloseWait(sk *sock) error {
	if s.spec.Kind == CloseWaitSending {
		s.spec.Peers = PeersHeld // only an open peer takes what is sent
	}
	if err := send(sk.peer, s.spec.Payload); err != nil {
		return err
	}
	from := now()
	if err := s.finishPeer(sk); err != nil {
		return err
	}
	if err := waitState(sk.fd, tcpCloseWait); err != nil {
		return err
	}
	to := now()
	if sk.other != nil {
		sk.other.stuck(s.peerVerdict(), from, to.add(delayedACK))
		if s.spec.Peers == PeersOrphaned {
			sk.other.closed()
		}
	}
	v, err := s.read(sk.fd)
	if err != nil {
		return err
	}
	sk.truth.stuck(v, from, to)
	if v == eofUnread {
		sk.truth.Unread = s.spec.Payload
	}
	return nil
}

// peerVerdict says as what the end that finished first is stuck.
func (s *Set) peerVerdict() verdict {
	if s.spec.Peers == PeersOrphaned {
		return orphaned
	}
	return halfClosed
}

// finishPeer sends the peer's FIN and sees to what remains of it.
func (s *Set) finishPeer(sk *sock) (err error) {
	if s.spec.Peers != PeersGone {
		if sk.other, err = s.describePeer(sk); err != nil {
			return err
		}
	}
	if s.spec.Peers == PeersOrphaned {
		closeAll(sk.peer)
		sk.peer = -1
		return nil
	}
	if err := unix.Shutdown(sk.peer, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutting down the peer: %w", err)
	}
	return nil
}

// dismiss makes the peers vanish whose FIN has been acknowledged; until that
// they must stay, or the acknowledgement would be answered with a reset. A
// close with a short TCP_LINGER2 would not do: where the acknowledgement meets
// a socket that is locked by its own close, the kernel keeps a full socket and
// ends it with a reset (net/ipv4/tcp_timer.c, tcp_keepalive_timer).
func (s *Set) dismiss(all bool) error {
	deadline := time.Now().Add(opTimeout)
	for ; s.dismissed < len(s.socks); s.dismissed++ {
		sk := s.socks[s.dismissed]
		for {
			st, err := stateOf(sk.peer)
			if err != nil {
				return err
			}
			if st == tcpFinWait2 {
				break
			}
			if !all {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("waiting for the acknowledgement of a peer's FIN: TCP state is %d", st)
			}
			time.Sleep(time.Millisecond)
		}
		if err := vanish(sk.peer); err != nil {
			return err
		}
		sk.peer = -1
	}
	return nil
}

// read does what the kind's program reads before it forgets the socket.
func (s *Set) read(fd int) (verdict, error) {
	switch s.spec.Kind {
	case CloseWaitIgnored:
		return eofIgnored, readAll(fd, s.spec.Payload, true)
	case CloseWaitDrained:
		// With the FIN already in the queue this read takes its place in the
		// sequence too (net/ipv4/tcp.c, tcp_recvmsg_locked, found_fin_ok).
		return eofIgnored, readAll(fd, s.spec.Payload, false)
	case CloseWaitSending:
		return stillSending, nil
	}
	return eofUnread, nil
}

// send writes n bytes.
func send(fd, n int) error {
	if n == 0 {
		return nil
	}
	err := again(func() error {
		_, err := unix.Write(fd, bytes.Repeat([]byte("x"), n))
		return err
	})
	if err != nil {
		return fmt.Errorf("sending %d bytes: %w", n, err)
	}
	return nil
}

// readAll reads n bytes and, if eof is set, the end of file after them. The
// buffer is larger than n: the last read meets the FIN as a program's would.
func readAll(fd, n int, eof bool) error {
	buf := make([]byte, maxPayload+1)
	for got := 0; ; {
		if got == n && !eof {
			return nil
		}
		r, err := read(fd, buf)
		switch {
		case err != nil:
			return fmt.Errorf("reading what the peer sent: %w", err)
		case r == 0 && eof && got == n:
			return nil
		case r == 0:
			return fmt.Errorf("reading what the peer sent: end of file after %d of %d bytes", got, n)
		}
		got += r
	}
}

func read(fd int, buf []byte) (n int, err error) {
	err = again(func() error {
		n, err = unix.Read(fd, buf)
		return err
	})
	return n, err
}

// sendInterval is how often CloseWaitSending writes.
const sendInterval = 100 * time.Millisecond

// keepSending writes to sockets whose peer has finished, and reads at the
// peer so that the window stays open.
func (s *Set) keepSending() {
	tick := time.NewTicker(sendInterval)
	defer tick.Stop()
	buf := make([]byte, 512)
	for {
		for _, sk := range s.socks {
			_, _ = unix.SendmsgN(sk.fd, []byte("tick"), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			_, _, _ = unix.Recvfrom(sk.peer, buf, unix.MSG_DONTWAIT)
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

func (s *Set) stopSending() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.wg.Wait()
}

// makeUnaccepted leaves a connection in the accept queue whose client has
// finished.
func (s *Set) makeUnaccepted(sk *sock) error {
	fd, err := s.lis.dial()
	if err != nil {
		return err
	}
	sk.peer = fd
	if err := send(fd, s.spec.Payload); err != nil {
		return err
	}
	client, err := describe(fd, false, s.netns)
	if err != nil {
		return err
	}
	from := now()
	s.spec.Accepted = true
	if err := s.finishPeer(sk); err != nil {
		return err
	}
	to := now()
	if sk.other != nil {
		sk.other.stuck(s.peerVerdict(), from, to.add(delayedACK))
		if s.spec.Peers == PeersOrphaned {
			sk.other.closed()
		}
	}
	sk.truth = &Truth{
		Local: client.Peer, Peer: client.Local, Network: client.Network, Role: "server", NetNS: s.netns,
		PID: os.Getpid(), FD: -1, Relation: relationListens, Unread: s.spec.Payload,
	}
	sk.truth.stuck(unaccepted, from, to)
	return nil
}

// endCloseWait ends sockets in CLOSE_WAIT.
func (s *Set) endCloseWait(sk *sock, how End) error {
	switch how {
	case EndReset:
		return s.resetByPeer(sk, "closed")
	case EndDestroy:
		return s.destroyed(sk)
	}
	if s.spec.Kind == CloseWaitUnaccepted {
		var err error
		if sk.fd, err = s.lis.accept(); err != nil {
			return err
		}
	}
	closeAll(sk.fd)
	sk.fd = -1
	sk.truth.Outcome = "closed"
	if sk.other == nil {
		return nil
	}
	// Data that nobody read turns the FIN into a reset (net/ipv4/tcp.c,
	// __tcp_close, data_was_unread).
	sk.other.Outcome = "closed"
	if sk.truth.Unread > 0 {
		sk.other.Outcome = "reset"
	}
	return nil
}

// errPeerGone says that an end needs a peer that is not there.
var errPeerGone = errors.New("the peer is gone, so it cannot do that: make the sockets with peers held")
