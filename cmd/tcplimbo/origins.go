package main

import (
	"context"
	"sync"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/origin"
	"github.com/tcplimbo/tcplimbo/userspace/origin/names"
)

// origins knows containers. What takes time it does in goroutines of its own.
type origins struct {
	*origin.Resolver
	running sync.WaitGroup
	stop    context.CancelFunc
	groups  *origin.Groups
	names   *names.Names
}

// startOrigins begins to ask the container runtime for names, until ctx is done.
func startOrigins(ctx context.Context, runtime string, log zerolog.Logger) *origins {
	ctx, stop := context.WithCancel(ctx)
	o := &origins{stop: stop, groups: origin.OpenGroups(procRoot), names: names.New(log, sources(runtime)...)}
	o.Resolver = origin.New(procRoot, o.groups, o.names)
	o.running.Go(func() { o.names.Run(ctx) })
	if o.groups != nil {
		o.running.Go(func() { o.groups.Run(ctx) })
	}
	return o
}

func sources(runtime string) []names.Source {
	switch runtime {
	case config.RuntimeAuto:
		return names.Usual()
	case config.RuntimeOff:
		return []names.Source{names.Files()}
	}
	return names.Chosen(runtime)
}

// wait ends what was started.
func (o *origins) wait() {
	o.stop()
	o.running.Wait()
	o.names.Close()
	if o.groups != nil {
		o.groups.Close()
	}
}
