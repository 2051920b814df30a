// Package sockdiag is the kernel side without eBPF: it polls netlink's sock_diag in
// every network namespace that it may enter, and gives the same values as the
// tracer. Nothing tells of transitions, so what does not last until the next look
// is not seen, and what led to a state is not known.
package sockdiag

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// LostMost are the most important of Lost, for a line that says more.
const LostMost = "exact ages, outcomes, causes of connects, user stacks"

// Lost says what is not known without eBPF, in one line.
const Lost = "ages count from the first sight or are a lower bound, findings come up to a look late, " +
	"how a socket ended, who connected or closed it, why a connect is not answered, write queues by service, user stacks, and mostly when the kernel gives up are not known"

// Alone says what follows where no other network namespace can be entered.
const Alone = "only this network namespace, only processes of the own user"

// Source reads sockets by netlink. It is used by one goroutine.
type Source struct {
	root    string
	spaces  *spaces
	conn    conn
	answer  answer
	devices devices

	// denied: the last look at descriptors left processes out.
	denied bool

	// places are what is left of a walk in parts.
	places []place
	queues flow.WriteQueues
	// lost counts dumps that failed.
	lost uint64
}

// New returns a Source, if sock_diag answers. root is where the proc file system is
// mounted.
func New(root string) (*Source, error) {
	spaces, err := newSpaces(root)
	if err != nil {
		return nil, err
	}
	s := &Source{root: root, spaces: spaces}
	err = s.inside(spaces.own, func() error {
		return s.conn.dump(unix.AF_INET, flow.StateListen.Bit(), func([]byte) error { return nil })
	})
	if err != nil {
		return nil, fmt.Errorf("%w; the kernel needs CONFIG_INET_TCP_DIAG (module tcp_diag), and no seccomp filter may forbid netlink", err)
	}
	return s, nil
}

// Namespaces returns how many network namespaces are looked at, and whether others
// can be entered at all.
func (s *Source) Namespaces() (n int, others bool) { return len(s.spaces.order), !s.spaces.alone }

// Close implements the kernel side; nothing is kept open between calls.
func (s *Source) Close() error { return nil }

// inside runs fn in a network namespace with the conn open there.
func (s *Source) inside(netns uint32, fn func() error) error {
	return s.spaces.in(netns, func() error {
		if err := s.conn.open(); err != nil {
			return err
		}
		defer s.conn.close()
		return fn()
	})
}

// take decodes a message and calls fn with the socket.
func (s *Source) take(netns uint32, fn func(*flow.Sock)) func([]byte) error {
	return func(b []byte) error {
		if err := s.answer.decode(b, netns); err != nil {
			return err
		}
		s.devices.note(s.answer.sock.Addr, s.answer.device)
		fn(&s.answer.sock)
		return nil
	}
}

// Read fills in what the kernel says of sockets now. There are no events to track
// any of them by.
func (s *Source) Read(socks []*flow.Sock, _ bool) error {
	bySpace := map[uint32][]*flow.Sock{}
	for _, sock := range socks {
		if !sock.Peer.IsValid() {
			*sock = flow.Sock{ID: sock.ID, Gone: true} // only addresses find it again
			continue
		}
		bySpace[sock.NetNS] = append(bySpace[sock.NetNS], sock)
	}
	for netns, some := range bySpace {
		err := s.inside(netns, func() error { return s.readSome(netns, some) })
		switch {
		case err == nil:
		case errors.Is(err, errGone), errors.Is(err, fs.ErrPermission):
			for _, sock := range some {
				*sock = flow.Sock{ID: sock.ID, Gone: true}
			}
		default:
			return err
		}
	}
	return nil
}

func (s *Source) readSome(netns uint32, socks []*flow.Sock) error {
	for _, sock := range socks {
		id := sock.ID
		*sock = flow.Sock{ID: id, Gone: true}
		_, err := s.conn.get(&id, s.devices.of(id.Addr), s.take(netns, func(now *flow.Sock) {
			if now.Key == id.Key {
				*sock = *now
				sock.Untracked = true
			}
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// HasAddress reports whether the network namespace of a socket has an address.
func (s *Source) HasAddress(sock flow.Key, addr netip.Addr) (bool, error) {
	found := false
	err := s.spaces.in(netnsOf(sock.Addr), func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("listing addresses: %w", err)
		}
		for i := range list {
			a, _ := netip.AddrFromSlice(list[i].IP)
			found = found || a.Unmap() == addr
		}
		return nil
	})
	if errors.Is(err, errGone) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	return found, err
}

// Cookie returns the cookie, which every answer of sock_diag has.
func (s *Source) Cookie(id flow.ID) (uint64, error) { return id.Cookie, nil }

// idle is how long until AgePace may be asked again.
const idle = time.Minute

// Age implements the kernel side; there is no young generation.
func (s *Source) Age(time.Duration, func() error) error { return nil }

// AgePace implements the kernel side.
func (s *Source) AgePace() time.Duration { return idle }

// Events implements the kernel side; there are none.
func (s *Source) Events(func(*flow.Event)) error { return nil }

// SetAside implements the kernel side; what moves is only to be told by a reading.
func (s *Source) SetAside(*flow.Mover) (uint32, bool) { return 0, false }

// Aside implements the kernel side; nothing is set aside.
func (s *Source) Aside(flow.ID) (uint32, bool) { return 0, false }

// TakeBack implements the kernel side; nothing is set aside.
func (s *Source) TakeBack(uint32) {}

// Glance implements the kernel side; nothing is set aside.
func (s *Source) Glance([]flow.Mover, func(flow.MoverIs, *flow.Sock)) error { return nil }

// Recall implements the kernel side; nothing is known of the past.
func (s *Source) Recall(flow.Key) (flow.Task, time.Duration, bool) { return flow.Task{}, 0, false }

// Follow implements the kernel side; there are no transitions to follow.
func (s *Source) Follow(bool) error { return nil }

// WatchSYN implements the kernel side; dropped packets are not seen.
func (s *Source) WatchSYN(bool) error { return nil }

// Causes implements the kernel side; why a SYN is not answered is not seen.
func (s *Source) Causes([]*flow.Sock) error { return nil }

// Stats returns what was not seen.
func (s *Source) Stats() (flow.Stats, error) {
	return flow.Stats{Losses: flow.Losses{WalkCut: s.lost + s.spaces.over}}, nil
}

// WriteQueues is what the last walk added up.
func (s *Source) WriteQueues() (flow.WriteQueues, error) { return s.queues, nil }
