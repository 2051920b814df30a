package main

import (
	"context"
	"errors"
	"time"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/report"
	"github.com/tcplimbo/tcplimbo/cmd/limbobench/rig"
)

// measurePeers measures other tools, and ours as they are, under one load: a
// known number of connections by one thread, without the tool and with it.
func measurePeers(ctx context.Context, b *rig.Bench) ([]report.Peer, error) {
	var all []report.Peer
	run, err := b.Run()
	if err != nil {
		return nil, err
	}
	trace := b.Trace()
	for _, own := range []*rig.Observer{run, trace} {
		p, err := measurePeer(ctx, b, own)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	for _, peer := range rig.Peers() {
		if peer.Missing != "" {
			all = append(all, report.Peer{Name: peer.Name, Skipped: peer.Missing})
			continue
		}
		p, err := measurePeer(ctx, b, peer.Observer)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			p = report.Peer{Name: peer.Name, Skipped: err.Error()}
		}
		all = append(all, p)
	}
	return all, nil
}

func measurePeer(ctx context.Context, b *rig.Bench, obs *rig.Observer) (report.Peer, error) {
	connections, rounds := 40_000, 3
	if b.Quick {
		connections, rounds = 15_000, 1
	}
	p := report.Peer{Name: obs.Name}
	var without, with time.Duration
	var cpu time.Duration
	for range rounds {
		alone, err := rig.ChurnOnce(ctx, 1, connections)
		if err != nil {
			return report.Peer{}, err
		}
		without += alone.Total().Elapsed
		one, err := peerOnce(ctx, b, obs, connections)
		if err != nil {
			return report.Peer{}, err
		}
		with += one.elapsed
		cpu += one.cpu
		p.Made += connections * obs.PerConnection
		p.Lost += one.lost
		p.RSS = max(p.RSS, one.rss)
		b.Progress("%s: rate %.2f, %d lost", obs.Name, without.Seconds()/with.Seconds(), p.Lost)
	}
	p.Rate = without.Seconds() / with.Seconds()
	p.CPU = cpu.Seconds() / float64(rounds*connections*rig.Transitions) * 1e6
	return p, nil
}

// onePass is what one load with a tool beside it took.
type onePass struct {
	elapsed, cpu time.Duration
	lost         int
	rss          int64
}

func peerOnce(ctx context.Context, b *rig.Bench, obs *rig.Observer, connections int) (one onePass, err error) {
	load, err := rig.PrepareChurn(1, connections)
	if err != nil {
		return onePass{}, err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	r, err := b.Start(ctx, obs.In(load.Path))
	if err != nil {
		return onePass{}, err
	}
	defer func() { err = errors.Join(err, r.Forget()) }()
	one, err = underLoad(ctx, r, load)
	// What it holds back is written at its end.
	if err := errors.Join(err, r.Stop()); err != nil {
		return onePass{}, err
	}
	printed, err := rig.CountLines(r.Output, rig.Mentions)
	one.lost = max(0, connections*obs.PerConnection-printed)
	return one, err
}

// underLoad measures a tool until it has dealt with the load: what it has
// still to print is its work too.
func underLoad(ctx context.Context, r *rig.Running, load *rig.Churn) (onePass, error) {
	if err := rig.Sleep(ctx, settle); err != nil {
		return onePass{}, err
	}
	before, err := host.ReadUsage(r.PID)
	if err != nil {
		return onePass{}, err
	}
	if err := load.Finish(ctx); err != nil {
		return onePass{}, err
	}
	if err := r.Settle(ctx); err != nil {
		return onePass{}, err
	}
	after, err := host.ReadUsage(r.PID)
	return onePass{elapsed: load.Total().Elapsed, cpu: after.CPU - before.CPU, rss: after.Memory.RSS}, err
}
