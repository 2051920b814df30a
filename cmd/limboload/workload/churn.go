package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Transitions is how many state changes one churned connection makes, both
// ends together, TIME_WAIT not counted.
const Transitions = 10

// perListener is how many connections go to one port before the next one is
// used: every closed connection keeps its port pair for a minute of
// TIME_WAIT, and connect(2) gets slow long before the 28,000 are used up.
const perListener = 5000

// maxInFlight bounds connections that the accepting thread has not finished,
// so that the accept queue cannot overflow: a SYN that is dropped for that
// costs a second.
const maxInFlight = 512

// ChurnSpec says how much to churn.
type ChurnSpec struct {
	Connections int // in all
	Threads     int // connecting threads, each with an accepting one; 0 is 1
	Family      Family
	NS          *Namespace
}

// ChurnResult says what was done.
type ChurnResult struct {
	Connections int
	Elapsed     time.Duration
	// Slowest is the longest that a connection was open at the accepting end
	// after the client had closed it: on a machine that stands still, healthy
	// connections are stuck too.
	Slowest time.Duration
}

// Rate returns connections per second.
func (r ChurnResult) Rate() float64 { return float64(r.Connections) / r.Elapsed.Seconds() }

// Churn opens and closes connections as fast as possible; the client closes
// first. It stops early when ctx ends, without an error.
func Churn(ctx context.Context, spec ChurnSpec) (ChurnResult, error) {
	if spec.Threads == 0 {
		spec.Threads = 1
	}
	if spec.Family == "" {
		spec.Family = IPv4
	}
	if spec.Connections < 0 || spec.Threads < 0 {
		return ChurnResult{}, fmt.Errorf("churning %d connections with %d threads: want positive numbers", spec.Connections, spec.Threads)
	}
	if !slices.Contains(Families(), spec.Family) {
		return ChurnResult{}, fmt.Errorf("unknown family %q, want one of %s", spec.Family, Join(Families()))
	}
	lanes, err := openLanes(spec)
	if err != nil {
		return ChurnResult{}, err
	}
	var wg sync.WaitGroup
	errs := make([]error, 2*len(lanes))
	start := time.Now()
	for i, l := range lanes {
		wg.Go(func() { errs[2*i] = l.accept() })
		wg.Go(func() { errs[2*i+1] = spec.NS.onThread(func() error { return l.connect(ctx) }) })
	}
	wg.Wait()
	res := ChurnResult{Elapsed: time.Since(start)}
	for _, l := range lanes {
		res.Connections += int(l.done.Load())
		res.Slowest = max(res.Slowest, l.slowest)
		for _, lis := range l.lis {
			lis.close()
		}
	}
	return res, errors.Join(errs...)
}

// lane is one connecting and one accepting thread and their listeners.
type lane struct {
	n    int // connections to make
	lis  []*listener
	made atomic.Int64 // connections made
	done atomic.Int64 // connections closed at both ends
	stop atomic.Bool  // one side is through, the other must not wait
	// made at, by number; no more than maxInFlight are in use at once
	madeAt  [2 * maxInFlight]atomic.Int64
	slowest time.Duration // of the accepting thread
}

func openLanes(spec ChurnSpec) ([]*lane, error) {
	lanes := make([]*lane, spec.Threads)
	for i := range lanes {
		l := &lane{n: (spec.Connections + i) / spec.Threads}
		lanes[i] = l
		for range l.n/perListener + 1 {
			lis, err := listen(spec.NS, spec.Family, churnAddr(spec.Family, i), 2*maxInFlight, 0, false)
			if err != nil {
				return nil, err
			}
			l.lis = append(l.lis, lis)
		}
	}
	return lanes, nil
}

// churnAddr gives every lane an IPv4 address of its own, so that lanes do not
// look for free ports in the same hash chains.
func churnAddr(f Family, lane int) netip.AddrPort {
	if f == IPv6 {
		return netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(lane + 1)}), 0)
}

func (l *lane) connect(ctx context.Context) error {
	defer l.hangUp()
	for i := 0; i < l.n && ctx.Err() == nil; i++ {
		for l.made.Load()-l.done.Load() >= maxInFlight && !l.stop.Load() {
			time.Sleep(50 * time.Microsecond)
		}
		lis := l.lis[i/perListener]
		fd, err := unix.Socket(lis.family.domain(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return fmt.Errorf("creating a TCP socket: %w", err)
		}
		if err := again(func() error { return unix.Connect(fd, lis.family.sockaddr(lis.addr)) }); err != nil {
			closeAll(fd)
			return fmt.Errorf("connecting to %s: %w", lis.addr, err)
		}
		l.madeAt[i%len(l.madeAt)].Store(time.Now().UnixNano())
		l.made.Add(1)
		closeAll(fd)
	}
	return nil
}

// hangUp waits until all that was made is accepted and then wakes the
// accepting thread, which may expect more.
func (l *lane) hangUp() {
	for l.done.Load() < l.made.Load() && !l.stop.Load() {
		time.Sleep(50 * time.Microsecond)
	}
	l.stop.Store(true)
	for _, lis := range l.lis {
		_ = unix.Shutdown(lis.fd, unix.SHUT_RD)
	}
}

func (l *lane) accept() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 16)
	for i := range l.n {
		fd, err := accept(l.lis[i/perListener].fd)
		if err != nil && l.stop.Load() {
			return nil // hangUp woke us
		}
		if err == nil {
			_, err = read(fd, buf)
			closeAll(fd)
		}
		if err != nil {
			l.stop.Store(true)
			return fmt.Errorf("accepting connection %d and reading its end of file: %w", i, err)
		}
		if at := l.madeAt[i%len(l.madeAt)].Load(); at != 0 {
			l.slowest = max(l.slowest, time.Duration(time.Now().UnixNano()-at))
		}
		l.done.Add(1)
	}
	return nil
}

// onThread runs fn on a thread of its own in the namespace, beside Do, which
// has one for all.
func (n *Namespace) onThread(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if n == nil {
			defer runtime.UnlockOSThread()
			errc <- fn()
			return
		}
		// Never unlocked: the thread ends with the goroutine.
		fd, err := n.handle()
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			closeAll(fd)
		}
		if err == nil {
			err = fn()
		}
		errc <- err
	}()
	return <-errc
}
