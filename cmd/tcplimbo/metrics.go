package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/agent"
	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
)

func serveBuild() serve.Build {
	build := thisBuild()
	return serve.Build{Version: build.Version, Revision: build.Commit}
}

// newMetrics makes the metrics with every series that can appear, at zero.
func newMetrics(cfg *config.Run) *serve.Metrics {
	m := serve.NewMetrics(serveBuild(), cfg.Kinds())
	m.Stages(agent.Stages()...)
	for k := flow.EventNone + 1; k < flow.EventKindCount; k++ {
		m.Events(k.String(), 0)
	}
	for k := flow.RetransmitNone + 1; k < flow.RetransmitKinds; k++ {
		m.Retransmits(k.String(), 0)
	}
	return m
}

// metricsServer is the daemon's HTTP server, if it has one.
type metricsServer struct {
	log    zerolog.Logger
	server *serve.Server
	// absent is why there is none although nobody turned it off.
	absent error
	done   chan struct{}
}

// startServer serves metrics in the background until ctx is done. A taken
// address is an error if somebody chose it; the default one is done without, so
// that a second daemon runs beside the first.
func startServer(ctx context.Context, in *agentInput) (*metricsServer, error) {
	m := &metricsServer{log: in.Log, done: make(chan struct{})}
	addr := in.Config.MetricsAddr
	if addr == "" {
		close(m.done)
		return m, nil
	}
	server, err := serve.Listen(ctx, addr, serve.Handler(serveBuild(), in.Metrics, in.State))
	if err != nil {
		close(m.done)
		m.absent = metricsError(addr, err)
		if in.Config.Source(config.MetricsAddr) != config.FromDefault {
			return nil, m.absent
		}
		return m, nil
	}
	m.server = server
	go m.serve(ctx)
	return m, nil
}

func (m *metricsServer) serve(ctx context.Context) {
	defer close(m.done)
	if err := m.server.Serve(ctx); err != nil {
		m.log.Error().Err(err).Msg("metrics are not served any more")
	}
}

func (m *metricsServer) announce() {
	switch {
	case m.absent != nil:
		m.log.Warn().Err(m.absent).Msg("running without metrics")
	case m.server != nil:
		m.log.Info().Stringer("address", m.server.Addr()).Msg("serving metrics, health and the status page")
	}
}

// wait returns when the address is free again; ctx must be done.
func (m *metricsServer) wait() { <-m.done }

func metricsError(addr string, err error) error {
	problem := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		problem = "is taken by another program; give another address"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		problem = "is not an address of this host; give another one"
	case errors.Is(err, syscall.EACCES):
		problem = "must not be opened by this user; give a port above 1023"
	default:
		return fmt.Errorf("--%s: %w; give another address, or '' for none", config.MetricsAddr, err)
	}
	return fmt.Errorf("--%s: %q %s, or '' for none", config.MetricsAddr, addr, problem)
}
