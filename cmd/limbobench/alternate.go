package main

import (
	"context"
	"errors"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/sample"
)

// plan says how often and how long an observer is compared with none.
type plan struct {
	pairs int
	// most is how many pairs are tried where something disturbs.
	most   int
	window time.Duration
}

// settle is how long after the start or the end of an observer the load is
// left alone: the agent loads some programs after it is ready, which P12 does not
// count either, and the kernel frees programs and maps a little later.
const settle = 1500 * time.Millisecond

// window is what happened while the load ran with or without an observer.
type window struct {
	rig.Done
	wall      time.Duration
	agent     time.Duration // CPU time of the observer
	rss       int64         // its memory at the end
	disturbed string
}

// comparison is all pairs of one observer and one load.
type comparison struct {
	rate, cost        []sample.Pair // connections a second; the load's CPU a connection, in ns
	agent             time.Duration // CPU time of the observer in all windows with it
	transitions       float64       // made in those
	rss               int64
	lost, lossRecords int // said by the agent; -1: it does not say
	disturbances      map[string]int
}

// alternate lets the load run all the time and starts and stops the observer
// beside it, so that both sides of a pair meet the same machine.
func alternate(ctx context.Context, b *rig.Bench, load *rig.Churn, obs *rig.Observer, p plan) (*comparison, error) {
	c := &comparison{disturbances: make(map[string]int)}
	for i := 0; i < p.most && sample.CountCalm(c.rate) < p.pairs; i++ {
		if err := calm(ctx, b, load); err != nil {
			return nil, err
		}
		var without, with window
		var err error
		// The order changes: a drift of the machine helps either side.
		if i%2 == 0 {
			without, err = alone(ctx, load, p.window)
		}
		if err == nil {
			with, err = c.observed(ctx, b, load, obs, p.window)
		}
		if err == nil && i%2 == 1 {
			without, err = alone(ctx, load, p.window)
		}
		if err != nil {
			return nil, err
		}
		c.add(without, with)
		b.Progress("%s: pair %d: %.3f of %.0f connections/s%s", obs.Name, i+1,
			with.Rate()/without.Rate(), without.Rate(), inBrackets(without.disturbed, with.disturbed))
	}
	return c, nil
}

// warmUp is how long the load takes to be as fast as it gets.
const warmUp = 500 * time.Millisecond

// calm waits for a calm machine with the load paused.
func calm(ctx context.Context, b *rig.Bench, load *rig.Churn) error {
	load.Pause()
	err := b.AwaitCalm(ctx, load.PID)
	load.Resume()
	if err != nil {
		return err
	}
	return rig.Sleep(ctx, warmUp)
}

func inBrackets(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return " (" + r + ")"
		}
	}
	return ""
}

func (c *comparison) add(without, with window) {
	disturbed := without.disturbed != "" || with.disturbed != ""
	for _, d := range []string{without.disturbed, with.disturbed} {
		if d != "" {
			c.disturbances[d]++
		}
	}
	c.rate = append(c.rate, sample.Pair{Without: without.Rate(), With: with.Rate(), Disturbed: disturbed})
	c.cost = append(c.cost, sample.Pair{
		Without: float64(without.Cost()), With: float64(with.Cost()), Disturbed: disturbed,
	})
	c.agent += with.agent
	c.rss = max(c.rss, with.rss)
	c.transitions += with.Rate() * with.wall.Seconds() * rig.Transitions
}

func alone(ctx context.Context, load *rig.Churn, d time.Duration) (window, error) {
	if err := rig.Sleep(ctx, settle); err != nil {
		return window{}, err
	}
	return watch(ctx, load, d, nil)
}

func (c *comparison) observed(ctx context.Context, b *rig.Bench, load *rig.Churn, obs *rig.Observer, d time.Duration) (w window, err error) {
	r, err := b.Start(ctx, obs)
	if err != nil {
		return window{}, err
	}
	defer func() { err = errors.Join(err, r.End()) }()
	if err := rig.Sleep(ctx, settle); err != nil {
		return window{}, err
	}
	if w, err = watch(ctx, load, d, r); err != nil {
		return window{}, err
	}
	return w, c.inspect(r)
}

// inspect asks a running observer what it took and lost.
func (c *comparison) inspect(r *rig.Running) error {
	if !r.Tells() {
		return nil
	}
	lost, err := r.Lost()
	if err != nil {
		return err
	}
	records, err := rig.CountLines(r.Output, rig.Event("tcplimbo.loss"))
	if err != nil {
		return err
	}
	c.lost += int(lost)
	c.lossRecords += records
	return nil
}

// watch measures for a while; r may be nil.
func watch(ctx context.Context, load *rig.Churn, d time.Duration, r *rig.Running) (window, error) {
	pids := []int{load.PID}
	if r != nil {
		pids = append(pids, r.PID)
	}
	noise, err := rig.ListenForNoise(pids...)
	if err != nil {
		return window{}, err
	}
	var before host.Usage
	if r != nil {
		if before, err = host.ReadUsage(r.PID); err != nil {
			return window{}, err
		}
	}
	var w window
	from := host.Monotonic()
	if w.Done, err = finished(ctx, load, from, d); err != nil {
		return window{}, err
	}
	w.wall = host.Monotonic() - from
	if r != nil {
		after, err := host.ReadUsage(r.PID)
		if err != nil {
			return window{}, err
		}
		w.agent, w.rss = after.CPU-before.CPU, after.Memory.RSS
		if err := r.Alive(); err != nil {
			return window{}, err
		}
	}
	w.disturbed, err = noise.Heard()
	return w, err
}

// windowMost is how long a window may get on a machine with much else to do.
const windowMost = 20 * time.Second

// finished lets the load work for d, or longer if no batch is finished by then.
func finished(ctx context.Context, load *rig.Churn, from, d time.Duration) (rig.Done, error) {
	for {
		if err := rig.Sleep(ctx, d); err != nil {
			return rig.Done{}, err
		}
		now := host.Monotonic()
		done, err := load.Between(from, now)
		if err == nil || now-from > windowMost {
			return done, err
		}
		if err := load.Alive(); err != nil {
			return rig.Done{}, err
		}
	}
}
