package workload

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Set is the sockets made from one Spec.
type Set struct {
	spec  Spec
	netns uint64
	socks []*sock
	// lis is where the connections were made; nil where a lab is.
	lis *listener
	// dismissed counts the socks whose peer is gone.
	dismissed int
	stop      chan struct{} // ends the writer of CloseWaitSending
	wg        sync.WaitGroup
}

// sock is one stuck socket and what there is at the other end.
type sock struct {
	truth *Truth
	// other is the truth of the other end if it is stuck too.
	other *Truth
	// fd is the stuck descriptor and peer the other end's, -1 if closed.
	fd, peer int
}

// Make makes the sockets of a Spec. On an error nothing is left.
func Make(spec Spec) (*Set, error) {
	if err := spec.setDefaults(); err != nil {
		return nil, err
	}
	ino, err := spec.NS.Inode()
	if err != nil {
		return nil, err
	}
	s := &Set{spec: spec, netns: ino, stop: make(chan struct{})}
	if err := s.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("making %s sockets: %w", spec.Kind, err), s.Close())
	}
	return s, nil
}

func (s *Set) make() error {
	if err := s.listen(); err != nil {
		return err
	}
	if s.spec.Kind == FinWait2Orphaned || s.spec.Peers == PeersOrphaned {
		if err := timewaitRoom(s.spec.NS, s.spec.Count); err != nil {
			return err
		}
	}
	start := time.Now()
	for i := range s.spec.Count {
		if s.spec.Rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(i) / s.spec.Rate * float64(time.Second)))))
		}
		sk := &sock{fd: -1, peer: -1}
		s.socks = append(s.socks, sk)
		if err := s.makeOne(sk); err != nil {
			return fmt.Errorf("number %d: %w", i, err)
		}
		if s.dismissing() {
			if err := s.dismiss(false); err != nil {
				return err
			}
		}
	}
	if s.dismissing() {
		if err := s.dismiss(true); err != nil {
			return err
		}
	}
	if err := s.settle(); err != nil {
		return err
	}
	if s.spec.Kind == CloseWaitSending {
		s.wg.Go(s.keepSending)
	}
	return nil
}

// dismissing says whether the peers of a close-wait kind are to vanish.
func (s *Set) dismissing() bool {
	return s.spec.Peers == PeersGone && strings.HasPrefix(string(s.spec.Kind), "close-wait")
}

func (s *Set) makeOne(sk *sock) error {
	switch s.spec.Kind {
	case SynSent:
		return s.makeSynSent(sk)
	case CloseWaitUnaccepted:
		return s.makeUnaccepted(sk)
	}
	client, server, err := s.lis.pair()
	if err != nil {
		return err
	}
	sk.fd, sk.peer = client, server
	if s.spec.Accepted {
		sk.fd, sk.peer = server, client
	}
	if sk.truth, err = describe(sk.fd, s.spec.Accepted, s.netns); err != nil {
		return err
	}
	switch s.spec.Kind {
	case FinWait2HalfClosed, FinWait2Orphaned:
		return s.makeFinWait2(sk)
	case FinWait1, FinWait1ZeroWindow, Closing, LastAck:
		return s.makeClosing(sk)
	}
	return s.makeCloseWait(sk)
}

// settle asks sock_diag what no descriptor can tell: that every socket really
// is in its state, and the cookies of those that have no descriptor.
func (s *Set) settle() error {
	deadline := time.Now().Add(opTimeout)
	for {
		seen, err := Diag(s.spec.NS)
		if err != nil {
			return err
		}
		missing, example := 0, ""
		for _, t := range s.Truths() {
			d, ok := seen[t.Tuple()]
			if !ok || d.StateName() != t.State {
				missing++
				example = fmt.Sprintf("%s→%s is %q, not %s%s", t.Local, t.Peer, d.StateName(), t.State, ownView(t.FD))
				continue
			}
			t.Cookie = d.Cookie
		}
		if missing == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %d sockets: %s", missing, example)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ownView says for a message what a descriptor itself tells of its socket.
func ownView(fd int) string {
	if fd < 0 {
		return ""
	}
	st, err := stateOf(fd)
	if err != nil {
		return ", " + err.Error()
	}
	soErr, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return fmt.Sprintf("; TCP_INFO says state %d, SO_ERROR %d", st, soErr)
}

// listen opens the listener that suits the kind.
func (s *Set) listen() error {
	f, err := s.spec.Family, error(nil)
	rcvbuf := 0
	if s.spec.Kind == FinWait1ZeroWindow {
		rcvbuf = smallBuffer
	}
	// One more than the sockets that can wait in the accept queue at once;
	// the kernel clamps it to somaxconn.
	backlog := s.spec.Count + 1
	if s.spec.Lab != nil {
		s.lis, err = s.spec.Lab.listenFor(f, backlog)
		return err
	}
	s.lis, err = listen(s.spec.NS, f, addrPortOf(f), backlog, rcvbuf, false)
	if err == nil && s.spec.Kind == SynSent {
		err = deafen(s.lis.fd)
	}
	return err
}

// describePeer returns the truth about the other end, which is stuck too.
func (s *Set) describePeer(sk *sock) (*Truth, error) {
	t, err := describe(sk.peer, !s.spec.Accepted, s.netns)
	if err != nil {
		return nil, err
	}
	t.Companion = true
	return t, nil
}

// Truths returns what is known of every stuck socket, companions included.
// The pointers stay valid: End fills in the outcomes.
func (s *Set) Truths() []*Truth {
	out := make([]*Truth, 0, len(s.socks))
	for _, sk := range s.socks {
		if sk.truth != nil && sk.truth.Kind != "" {
			out = append(out, sk.truth)
		}
		if sk.other != nil {
			out = append(out, sk.other)
		}
	}
	return out
}

// FDs returns the stuck descriptors of this process.
func (s *Set) FDs() []int {
	var out []int
	for _, sk := range s.socks {
		if sk.fd >= 0 {
			out = append(out, sk.fd)
		}
	}
	return out
}

// ListenerPort returns the port that one end of every connection has, for
// telling them from other people's.
func (s *Set) ListenerPort() uint16 { return s.lis.addr.Port() }

// Close removes every socket at once and silently where it can: no TIME_WAIT
// and no orphan is left behind.
func (s *Set) Close() error {
	s.stopSending()
	for _, sk := range s.socks {
		abort(sk.fd)
		abort(sk.peer)
		sk.fd, sk.peer = -1, -1
	}
	s.lis.close()
	var errs []error
	for _, t := range s.Truths() {
		if t.FD < 0 && t.Relation == relationCloser && t.Outcome == "" {
			// Older kernels destroy no minisocket (net/ipv4/tcp.c, tcp_abort, of 5.10):
			// it ends by itself.
			if err := destroy(s.spec.NS, t); !errors.Is(err, unix.EOPNOTSUPP) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// ListenerFD returns the listener's descriptor.
func (s *Set) ListenerFD() int { return s.lis.fd }
