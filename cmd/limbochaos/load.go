package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// repertoire are the ways to be stuck and to end that the load draws from: those
// that end at once, so that a round can be short.
var repertoire = []struct {
	spec workload.Spec
	how  workload.End
}{
	{workload.Spec{Kind: workload.CloseWaitUnread, Payload: 50, Peers: workload.PeersHeld}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitUnread, Payload: 5}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitIgnored}, workload.EndClose},
	{workload.Spec{Kind: workload.CloseWaitIgnored, Peers: workload.PeersHeld, Accepted: true}, workload.EndReset},
	{workload.Spec{Kind: workload.CloseWaitDrained, Payload: 7}, workload.EndDestroy},
	{workload.Spec{Kind: workload.CloseWaitUnaccepted, Payload: 9}, workload.EndClose},
	{workload.Spec{Kind: workload.SynSent}, workload.EndCancel},
	{workload.Spec{Kind: workload.SynSent}, workload.EndRefuse},
	{workload.Spec{Kind: workload.SynSent}, workload.EndDestroy},
	{workload.Spec{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld}, workload.EndFinish},
	{workload.Spec{Kind: workload.FinWait2HalfClosed, Peers: workload.PeersHeld}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld}, workload.EndFinish},
	{workload.Spec{Kind: workload.FinWait2Orphaned, Peers: workload.PeersHeld, Accepted: true}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait1, Shutdown: true}, workload.EndReset},
	{workload.Spec{Kind: workload.FinWait1}, workload.EndReset},
	{workload.Spec{Kind: workload.Closing}, workload.EndReset},
	{workload.Spec{Kind: workload.LastAck, Shutdown: true}, workload.EndReset},
}

// load makes stuck sockets in some namespaces and ends them, and healthy
// connections beside them.
type load struct {
	j      *journal
	spaces []*workload.Namespace
	// most is how many sockets an actor makes at once.
	most int
	// release is closed when what is held over the calm is to end.
	release chan struct{}
	wg      sync.WaitGroup

	errMu sync.Mutex
	errs  []error
	// unmade counts what could not be made because ports were used up.
	unmade atomic.Int64
}

func (l *load) fail(err error) {
	l.errMu.Lock()
	defer l.errMu.Unlock()
	l.errs = append(l.errs, err)
}

// act starts an actor that makes and ends sockets until ctx is done; what it holds
// then it ends after release.
func (l *load) act(ctx context.Context, rnd *rand.Rand) {
	l.wg.Go(func() {
		for ctx.Err() == nil {
			if err := l.once(ctx, rnd); err != nil {
				l.fail(err)
				return
			}
		}
	})
}

func (l *load) once(ctx context.Context, rnd *rand.Rand) error {
	act := repertoire[rnd.IntN(len(repertoire))]
	act.spec.Count = 1 + rnd.IntN(l.most)
	act.spec.Family = workload.Families()[rnd.IntN(3)]
	act.spec.NS = l.spaces[rnd.IntN(len(l.spaces))]
	// Half of them live shorter than any threshold.
	lasts := time.Duration(rnd.Int64N(int64(threshold * 3 / 4)))
	if rnd.IntN(2) == 0 {
		lasts = threshold + time.Duration(rnd.Int64N(int64(2*threshold)))
	}
	set, err := workload.Make(act.spec)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EADDRINUSE) {
		l.unmade.Add(1)
		time.Sleep(50 * time.Millisecond)
		return nil
	}
	if err != nil {
		return fmt.Errorf("making the load: %w", err)
	}
	lives := l.j.born(set.Truths())
	select {
	case <-time.After(lasts):
	case <-ctx.Done():
		<-l.release
	}
	l.j.dying(lives)
	err = set.End(act.how)
	l.j.died(lives, set.Truths())
	return errors.Join(err, set.Close())
}

// churn passes healthy connections through a namespace, in bursts.
func (l *load) churn(ctx context.Context, ns *workload.Namespace, s *space) {
	const burst, pause = 2000, 200 * time.Millisecond
	l.wg.Go(func() {
		for ctx.Err() == nil {
			res, err := workload.Churn(ctx, workload.ChurnSpec{Connections: burst, Threads: 1, NS: ns})
			if err != nil && ctx.Err() == nil {
				l.fail(fmt.Errorf("churning: %w", err))
				return
			}
			if res.Slowest > threshold*3/4 {
				l.j.mu.Lock()
				s.slow = true
				l.j.mu.Unlock()
			}
			time.Sleep(pause)
		}
	})
}
