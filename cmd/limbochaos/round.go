package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

const (
	// threshold of every kind, so that a round lasts seconds.
	threshold = 2 * time.Second
	// slack is what a word may come late beside the machine's own stalls.
	slack = 3 * time.Second
	// loading is how long sockets are made and faults are done unless --loading says
	// otherwise, calm how long what is left then is held, afterwards how long the
	// agent lives when that has ended.
	loading    = 6 * time.Second
	calm       = threshold + slack + 500*time.Millisecond
	afterwards = slack + 500*time.Millisecond
	actors     = 6
)

// round is one load under one fault.
type round struct {
	fault  *trouble
	seed   uint64
	rnd    *rand.Rand
	dir    string
	binary string
	// loading is how long sockets are made.
	loading time.Duration

	j        *journal
	load     *load
	busy     *workload.Namespace
	launch   launch
	agent    *agent
	sessions []*session
	foreign  int // lines about sockets that are not the load's
	noteMu   sync.Mutex
	notes    []string
	problems []string
	undo     []func() error
}

// result is what came of a round.
type result struct {
	*verdict
	notes    []string
	problems []string
	stall    time.Duration
}

func (r *result) ok() bool { return len(r.complaints) == 0 && len(r.problems) == 0 }

// run makes the round and judges it. An error means that the round could not be made.
func (r *round) run(ctx context.Context) (res *result, err error) {
	stop := watchStalls()
	defer func() {
		for i := len(r.undo) - 1; i >= 0; i-- {
			err = errors.Join(err, r.undo[i]())
		}
	}()
	journalFile, err := os.Create(filepath.Join(r.dir, "journal.json"))
	if err != nil {
		return nil, fmt.Errorf("creating the workload's log: %w", err)
	}
	r.undo = append(r.undo, journalFile.Close)
	r.j = newJournal(journalFile)
	r.launch = launch{binary: r.binary, dir: r.dir, args: []string{
		// Each socket has a record of its own: the judge counts them.
		"--output", "json", "--established", "0", "--group-above", "0",
		"--syn-sent", threshold.String(), "--fin-wait2", threshold.String(),
		"--close-wait", threshold.String(), "--closing", threshold.String(),
	}}
	if err := r.places(); err != nil {
		return nil, err
	}
	if r.fault.prepare != nil {
		if err := r.fault.prepare(r); err != nil {
			return nil, err
		}
	}
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	stall := stop()
	// Many of them say that the machine is not ours alone, and times mean little.
	r.note("%d lines about others", r.foreign)
	v := judge(r.j, r.sessions, r.rules(stall))
	if r.fault.lossy && v.Lost == 0 {
		r.problems = append(r.problems, "nothing was lost: this round proves nothing")
	}
	return &result{verdict: v, notes: r.notes, problems: r.problems, stall: stall}, nil
}

func (r *round) rules(stall time.Duration) rules {
	all := map[string]time.Duration{}
	for _, kind := range []string{"syn_sent_stalled", "fin_wait2_dangling", "close_wait_silent", "closing_stalled"} {
		all[kind] = threshold
	}
	return rules{thresholds: all, slack: slack - 500*time.Millisecond + stall, lossy: r.fault.lossy}
}

// places makes the namespaces of the load: two for what is stuck, one for what is not.
func (r *round) places() error {
	r.load = &load{j: r.j, most: 8, release: make(chan struct{})}
	for range 2 {
		ns, _, err := r.space()
		if err != nil {
			return err
		}
		r.load.spaces = append(r.load.spaces, ns)
	}
	var err error
	r.busy, _, err = r.space()
	return err
}

// space makes a namespace that lasts as long as the round.
func (r *round) space() (*workload.Namespace, *space, error) {
	ns, err := workload.NewNamespace()
	if err != nil {
		return nil, nil, err
	}
	r.undo = append(r.undo, ns.Close)
	s, err := r.j.open(ns)
	return ns, s, err
}

// play is the round: load and fault together, calm, the end of everything.
func (r *round) play(ctx context.Context) (err error) {
	if r.agent, err = start(r.launch, r.j); err != nil {
		return err
	}
	loadCtx, cancel := context.WithTimeout(ctx, r.loading)
	defer cancel()
	released := false
	release := func() {
		if !released {
			close(r.load.release)
		}
		released = true
	}
	defer func() {
		cancel()
		release()
		r.load.wg.Wait()
		if err != nil {
			r.agent.kill()
		}
	}()
	for i := range actors {
		r.load.act(loadCtx, rand.New(rand.NewPCG(r.seed, uint64(i))))
	}
	busy, _ := r.busy.Inode()
	r.load.churn(loadCtx, r.busy, r.j.spaces[busy])
	if r.fault.during != nil {
		if err := r.fault.during(r, loadCtx); err != nil {
			return fmt.Errorf("making the fault: %w", err)
		}
	}
	<-loadCtx.Done()
	wait(ctx, calm)
	release()
	r.load.wg.Wait()
	wait(ctx, afterwards)
	r.endSession()
	if r.fault.after != nil {
		r.fault.after(r)
	}
	return errors.Join(append(r.load.errs, ctx.Err())...)
}

// endSession stops the agent and keeps what it said.
func (r *round) endSession() {
	if err := r.agent.stop(); err != nil {
		r.problems = append(r.problems, err.Error())
	}
	r.keep()
}

// keep notes a session that has ended, and writes down what it said.
func (r *round) keep() {
	a := r.agent
	r.sessions = append(r.sessions, &a.session)
	r.problems = append(r.problems, a.broken...)
	if growth := a.growth(); growth != "" {
		r.note("%s", growth)
	}
	r.foreign += a.foreign
	if a.cut != "" && !a.killed {
		r.problems = append(r.problems, a.cut)
	}
	name := filepath.Join(r.dir, fmt.Sprintf("agent-%d.json", len(r.sessions)))
	f, err := os.Create(name)
	if err != nil {
		r.problems = append(r.problems, fmt.Sprintf("creating %s: %v", name, err))
		return
	}
	defer f.Close()
	for _, rec := range a.records {
		_, _ = f.WriteString(rec.line)
	}
	_, _ = f.WriteString(a.stderr.String())
}

func (r *round) note(format string, args ...any) {
	r.noteMu.Lock()
	defer r.noteMu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// between returns a random duration.
func (r *round) between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.rnd.Int64N(int64(high-low)))
}

// watchStalls measures how long the machine stands still for a process that wants
// to run; what is late for that reason is nobody's fault. The function returned ends
// it and returns the worst.
func watchStalls() func() time.Duration {
	const step = 10 * time.Millisecond
	stop, done := make(chan struct{}), make(chan time.Duration)
	go func() {
		worst := time.Duration(0)
		for {
			before := time.Now()
			select {
			case <-stop:
				done <- worst
				return
			case <-time.After(step):
			}
			worst = max(worst, time.Since(before)-step)
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-done
	}
}
