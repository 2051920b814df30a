package rig

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// Transitions is how many changes of state one connection makes.
const Transitions = workload.Transitions

// batchConnections are opened by each thread between two reports: about a
// tenth of a second.
const batchConnections = 2000

// Churn is another process that opens and closes connections as fast as it can.
type Churn struct {
	// NetNS is the inode number of the network namespace it works in.
	NetNS uint64
	// Path leads to that namespace.
	Path string
	// PID is its process.
	PID  int
	load *loadProcess
	spec loadSpec

	mu      sync.Mutex
	batches []batch
	read    chan struct{} // closed when the load has ended
}

// StartChurn starts a load that goes on until Close.
func StartChurn(threads int) (*Churn, error) {
	c, err := newChurn(loadSpec{Threads: threads, Batch: batchConnections * threads})
	if err != nil {
		return nil, err
	}
	if err := c.load.begin(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// PrepareChurn makes a load of so many connections that has not begun.
func PrepareChurn(threads, connections int) (*Churn, error) {
	return newChurn(loadSpec{Threads: threads, Batch: connections, Total: connections})
}

// Finish lets a prepared load begin and waits until it is through.
func (c *Churn) Finish(ctx context.Context) error {
	if err := c.load.begin(); err != nil {
		return err
	}
	select {
	case <-c.read:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d := c.Total(); d.Connections != c.spec.Total {
		return fmt.Errorf("opening connections: %d of %d: %s", d.Connections, c.spec.Total, c.load.Messages())
	}
	return nil
}

// ChurnOnce opens and closes so many connections.
func ChurnOnce(ctx context.Context, threads, connections int) (*Churn, error) {
	c, err := PrepareChurn(threads, connections)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.Finish(ctx), c.Close())
}

func newChurn(spec loadSpec) (*Churn, error) {
	l, err := startLoad(spec)
	if err != nil {
		return nil, err
	}
	c := &Churn{
		NetNS: l.first.NetNS, Path: l.first.Path, PID: l.PID,
		load: l, spec: spec, read: make(chan struct{}),
	}
	go c.follow()
	return c, nil
}

func (c *Churn) follow() {
	defer close(c.read)
	for {
		var b batch
		if c.load.out.Decode(&b) != nil {
			return
		}
		c.mu.Lock()
		c.batches = append(c.batches, b)
		c.mu.Unlock()
	}
}

// Close ends the load.
func (c *Churn) Close() error {
	err := c.load.end()
	<-c.read
	return err
}

// Pause stops the load until Resume: nobody should have to bear it while the
// benchmark waits.
func (c *Churn) Pause() { c.load.signal(syscall.SIGSTOP) }

// Resume lets the load go on.
func (c *Churn) Resume() { c.load.signal(syscall.SIGCONT) }

// Alive returns an error if the load has ended.
func (c *Churn) Alive() error { return c.load.Alive() }

// Done is what a load did within a time.
type Done struct {
	Connections int
	// Elapsed is the time of the batches that lie within, without the pauses
	// between them.
	Elapsed time.Duration
	CPU     time.Duration
}

// Rate returns connections per second.
func (d Done) Rate() float64 { return float64(d.Connections) / d.Elapsed.Seconds() }

// Cost returns the load's own CPU time per connection.
func (d Done) Cost() time.Duration { return d.CPU / time.Duration(max(1, d.Connections)) }

// Between adds up the batches that lie wholly between two times of
// CLOCK_MONOTONIC.
func (c *Churn) Between(from, to time.Duration) (Done, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := sum(c.batches, from, to)
	if d.Connections == 0 {
		return Done{}, fmt.Errorf("measuring the load: no batch of connections was finished within %s", to-from)
	}
	return d, nil
}

func sum(batches []batch, from, to time.Duration) Done {
	var d Done
	for _, b := range batches {
		if b.Start >= from && b.End <= to {
			d.Connections += b.Connections
			d.Elapsed += b.Elapsed
			d.CPU += b.CPU
		}
	}
	return d
}

// Total returns what a load did in all.
func (c *Churn) Total() Done {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sum(c.batches, 0, 1<<62)
}

// spareFiles are the descriptors that a process needs beside its sockets.
const spareFiles = 128

// filesMax is how many descriptors one of our processes may have.
func filesMax() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	const plenty = 1 << 20
	most := int(min(lim.Max, plenty)) - spareFiles
	if most < spareFiles {
		return 0, fmt.Errorf("%d open files are too few: raise the hard limit (ulimit -Hn)", lim.Max)
	}
	return most, nil
}

// Held are processes that hold idle connections.
type Held struct{ loads []*loadProcess }

// Hold opens idle ESTABLISHED connections on loopback, two sockets each, in as
// many processes as the limit of open files asks for.
func Hold(ctx context.Context, connections int) (*Held, error) {
	return holdAll(ctx, loadSpec{Hold: connections})
}

// HoldQueued opens connections on loopback whose one end has written what the
// other one reads every few seconds only.
func HoldQueued(ctx context.Context, connections int) (*Held, error) {
	return holdAll(ctx, loadSpec{Hold: connections, Queued: true})
}

func holdAll(ctx context.Context, spec loadSpec) (*Held, error) {
	most, err := filesMax()
	if err != nil {
		return nil, err
	}
	h := &Held{}
	for left := spec.Hold; left > 0; {
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), h.Close())
		}
		n := min(left, most/2)
		l, err := startLoad(loadSpec{Hold: n, Queued: spec.Queued})
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h.loads = append(h.loads, l)
		left -= n
	}
	return h, nil
}

// Close ends the processes.
func (h *Held) Close() error {
	var errs []error
	for _, l := range h.loads {
		errs = append(errs, l.end())
	}
	return errors.Join(errs...)
}

// Stuck are processes that hold sockets in CLOSE_WAIT.
type Stuck struct {
	Truths   []*workload.Truth
	children []*workload.Child
}

// onePort is how many connections go to one listener: of the 28,232 ports that a
// client can have by default some are in use.
const onePort = 20_000

// CloseWait makes sockets whose peer has closed, in one process if the limit
// of open files and the ports allow it; rate is sockets per second, 0 as fast as possible.
func CloseWait(ctx context.Context, count int, rate float64) (*Stuck, error) {
	most, err := filesMax()
	if err != nil {
		return nil, err
	}
	s := &Stuck{}
	for left := count; left > 0; {
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), s.Close())
		}
		c, err := workload.StartChild(workload.ChildOptions{})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.children = append(s.children, c)
		n := min(left, most, onePort)
		_, truths, err := c.Make(workload.Spec{Kind: workload.CloseWaitUnread, Count: n, Rate: rate})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.Truths = append(s.Truths, truths...)
		left -= n
	}
	return s, nil
}

// Close ends the processes and with them the sockets.
func (s *Stuck) Close() error {
	var errs []error
	for _, c := range s.children {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
