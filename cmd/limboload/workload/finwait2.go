package workload

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

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

// timewaitRoom waits until the namespace can keep n more minisockets. A full
// table makes the kernel drop an orphan at once where it should wait in
// FIN_WAIT2 (net/ipv4/tcp_minisocks.c, tcp_time_wait), and a churn of another
// program fills it for a minute.
func timewaitRoom(ns *Namespace, n int) error {
	return ns.Do(func() error {
		limit, err := readInt("/proc/sys/net/ipv4/tcp_max_tw_buckets")
		if err != nil {
			return err
		}
		deadline := time.Now().Add(endTimeout)
		for {
			used, err := timewaits()
			if err != nil || used+n <= limit {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("making %d orphans: the table of %d timewait sockets is full", n, limit)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// timewaits returns how many timewait sockets the thread's namespace has.
func timewaits() (int, error) {
	b, err := os.ReadFile("/proc/thread-self/net/sockstat")
	if err != nil {
		return 0, fmt.Errorf("counting timewait sockets: %w", err)
	}
	fields := strings.Fields(string(b))
	for i, f := range fields {
		if f == "tw" && i+1 < len(fields) {
			return strconv.Atoi(fields[i+1])
		}
	}
	return 0, fmt.Errorf("counting timewait sockets: no tw in %q", b)
}

func readInt(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading a sysctl: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
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
