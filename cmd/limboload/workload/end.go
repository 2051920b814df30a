package workload

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// End ends every socket of the set and fills in the outcomes. It returns when
// the kernel has no socket of the set in its stuck state any more.
func (s *Set) End(how End) error {
	if how == "" {
		how = ends[s.spec.Kind][0]
	}
	if !slices.Contains(ends[s.spec.Kind], how) {
		return fmt.Errorf("%s cannot end with %q, want one of %s", s.spec.Kind, how, Join(ends[s.spec.Kind]))
	}
	s.stopSending()
	if s.spec.Kind == SynSent {
		if err := s.endSynSent(how); err != nil {
			return err
		}
	}
	for _, sk := range s.socks {
		if err := s.endOne(sk, how); err != nil {
			return fmt.Errorf("ending %s with %s: %w", s.spec.Kind, how, err)
		}
	}
	if err := s.waitEnded(); err != nil {
		return err
	}
	if s.spec.Kind == FinWait1 || s.spec.Kind == FinWait1ZeroWindow {
		for _, sk := range s.socks {
			closeAll(sk.peer)
			sk.peer = -1
		}
	}
	return nil
}

func (s *Set) endOne(sk *sock, how End) error {
	switch s.spec.Kind {
	case SynSent:
		return s.endConnecting(sk, how)
	case FinWait2HalfClosed, FinWait2Orphaned:
		return s.endFinWait2(sk, how)
	case FinWait1, FinWait1ZeroWindow, Closing, LastAck:
		return s.endClosing(sk, how)
	}
	return s.endCloseWait(sk, how)
}

// resetByPeer lets the peer abort; other is what became of the peer itself.
func (s *Set) resetByPeer(sk *sock, other string) error {
	if sk.peer < 0 {
		return errPeerGone
	}
	abort(sk.peer)
	sk.peer = -1
	sk.truth.Outcome = "reset"
	if sk.other != nil {
		sk.other.Outcome = other
	}
	return nil
}

// destroyed ends a socket from outside, as `ss -K` and `tcplimbo kill` do.
func (s *Set) destroyed(sk *sock) error {
	if err := destroy(s.spec.NS, sk.truth); err != nil {
		return err
	}
	sk.truth.Outcome = "destroyed"
	if sk.other != nil {
		// tcp_abort sends a reset to the other end.
		sk.other.Outcome = "reset"
	}
	return nil
}

// endTimeout is how long the kernel may take to end a socket: the FIN of a
// stalled close is retransmitted at growing intervals.
const endTimeout = 75 * time.Second

// waitEnded waits until no socket of the set is in its stuck state.
func (s *Set) waitEnded() error {
	deadline := time.Now().Add(endTimeout)
	for {
		left, err := s.stillStuck()
		if err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for the end of %s: %d sockets are still stuck after %s", s.spec.Kind, left, endTimeout)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Set) stillStuck() (int, error) {
	seen, err := Diag(s.spec.NS)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range s.Truths() {
		d, ok := seen[t.Tuple()]
		if ok && d.Cookie == t.Cookie && t.Outcome != "" && d.StateName() == t.State {
			n++
		}
	}
	return n, nil
}

// Dup makes another descriptor of the socket in this process and returns it;
// the caller closes it.
func Dup(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicating descriptor %d: %w", fd, err)
	}
	return n, nil
}
