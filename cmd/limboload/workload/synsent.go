package workload

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// makeSynSent starts to connect to where nobody answers.
func (s *Set) makeSynSent(sk *sock) error {
	from := now()
	fd, err := dialSilently(s.spec.NS, s.spec.Family, s.lis.addr, s.spec.SynRetries)
	if err != nil {
		return err
	}
	to := now()
	sk.fd = fd
	if err := waitState(fd, tcpSynSent); err != nil {
		return err
	}
	sk.truth, err = describeConnecting(fd, s.lis.addr, s.netns)
	if err != nil {
		return err
	}
	sk.truth.stuck(noReply, from, to)
	return nil
}

// describeConnecting is describe for SYN_SENT, where getpeername(2) still
// says ENOTCONN.
func describeConnecting(fd int, to netip.AddrPort, netns uint64) (*Truth, error) {
	local, err := localAddr(fd)
	if err != nil {
		return nil, err
	}
	ino, err := inode(fd)
	if err != nil {
		return nil, err
	}
	c, err := cookie(fd)
	if err != nil {
		return nil, err
	}
	return &Truth{
		Local: local, Peer: to, Role: "client", NetNS: netns, Inode: ino, Cookie: c,
		PID: os.Getpid(), FD: fd, Relation: relationHolder, Network: networkOf(local),
	}, nil
}

// endSynSent prepares, once for the whole set, what the SYNs will meet.
func (s *Set) endSynSent(how End) error {
	switch how {
	case EndEstablish:
		if s.spec.Lab != nil {
			return s.spec.Lab.Answer()
		}
		return undeafen(s.lis.fd)
	case EndRefuse:
		s.lis.close()
		if s.spec.Lab != nil {
			return s.spec.Lab.Answer()
		}
	case EndUnreachable:
		if s.spec.Lab == nil {
			return fmt.Errorf("only a lab has a router that can say unreachable")
		}
		return s.spec.Lab.Unreachable()
	}
	return nil
}

// synSentOutcome is what each end of SYN_SENT leads to: the outcome, the
// state and the error that the program sees.
var synSentOutcome = map[End]struct {
	outcome string
	errno   unix.Errno
}{
	EndEstablish:   {"established", 0},
	EndRefuse:      {"refused", unix.ECONNREFUSED},
	EndTimeout:     {"timed_out", unix.ETIMEDOUT},
	EndUnreachable: {"unreachable", unix.EHOSTUNREACH},
}

// endConnecting ends one socket in SYN_SENT and checks what became of it.
func (s *Set) endConnecting(sk *sock, how End) error {
	switch how {
	case EndCancel:
		closeAll(sk.fd)
		sk.fd = -1
		sk.truth.Outcome = "canceled"
		return nil
	case EndDestroy:
		return s.destroyed(sk)
	}
	want := synSentOutcome[how]
	state := uint8(tcpClose)
	if how == EndEstablish {
		state = tcpEstablished
	}
	// It ends with the next SYN: before Linux 6.5 those come after 1, 3, 7, 15, 31 s.
	if err := waitStateFor(sk.fd, endTimeout, time.Millisecond, state); err != nil {
		return err
	}
	got, err := unix.GetsockoptInt(sk.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("reading SO_ERROR: %w", err)
	}
	// IPv6 says ENETUNREACH or EACCES for some ICMP codes; what counts is
	// that there is an error exactly where there should be one.
	if (got == 0) != (want.errno == 0) || (how != EndUnreachable && unix.Errno(got) != want.errno) {
		return fmt.Errorf("ending %s with %s: the socket's error is %d (%w), want %d", s.spec.Kind, how, got, unix.Errno(got), want.errno)
	}
	sk.truth.Outcome = want.outcome
	if how == EndEstablish {
		sk.peer, err = s.lis.accept()
	}
	return err
}
