package workload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Held is a number of idle ESTABLISHED connections, both ends of them.
type Held struct {
	lis []*listener
	fds []int
}

// perHeldListener is how many connections share a destination: the default
// range has 28,232 local ports, and finding the last of them is slow.
const perHeldListener = 20_000

// Hold opens n idle connections on loopback and keeps them. Each takes two
// descriptors: see RaiseFileLimit.
func Hold(ns *Namespace, f Family, n int) (*Held, error) { return hold(ns, f, n, 0) }

// hold takes a receive buffer that the accepting ends have from the start; 0 is the
// kernel's.
func hold(ns *Namespace, f Family, n, rcvbuf int) (*Held, error) {
	h := &Held{}
	for i := range n {
		if i%perHeldListener == 0 {
			lis, err := listen(ns, f, addrPortOf(f), 1024, rcvbuf, false)
			if err != nil {
				h.Close()
				return nil, err
			}
			h.lis = append(h.lis, lis)
		}
		client, server, err := h.lis[i/perHeldListener].pair()
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("opening connection %d of %d: %w", i+1, n, err)
		}
		h.fds = append(h.fds, client, server)
	}
	return h, nil
}

// Close resets the connections, so that nothing stays behind.
func (h *Held) Close() {
	for _, fd := range h.fds {
		abort(fd)
	}
	for _, lis := range h.lis {
		lis.close()
	}
	h.fds, h.lis = nil, nil
}

// RaiseFileLimit raises the soft limit of open files to the hard one, or to
// want where root may raise that too, and returns what it is then.
func RaiseFileLimit(want uint64) (uint64, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	if lim.Max < want {
		more := unix.Rlimit{Cur: want, Max: want}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &more) == nil {
			return want, nil
		}
		// CAP_SYS_RESOURCE is missing: take what there is.
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("raising the limit of open files to %d: %w", lim.Max, err)
	}
	return lim.Cur, nil
}
