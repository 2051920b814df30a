package main

import (
	"fmt"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/pprof"
)

// goroutinesOf makes what asks Go programs for their goroutines, nil if that is
// turned off.
func goroutinesOf(in *agentInput) (agent.Goroutines, error) {
	if in.Config.Pprof == config.PprofOff {
		return nil, nil
	}
	opts := pprof.Options{
		Only: in.Config.PprofAddress, Proc: procRoot, Count: in.Metrics.Profile, Now: time.Now,
		Failed: func(err error) {
			in.Log.Error().Err(err).Msg("a goroutine profile cannot be kept; findings go on without")
		},
	}
	if dir := in.Config.CaptureDir; dir != "" {
		dumps, err := pprof.OpenDumps(dir)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w; name a folder that can be written", config.CaptureDir, err)
		}
		opts.Dumps = dumps
	}
	in.Metrics.Profiles(pprof.Results()...)
	return pprof.New(opts), nil
}
