package main

import (
	"context"
	stdlog "log"
	"os"

	"github.com/go-logr/logr/funcr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp"
)

// otlpTargets is where the signals go; nil for nowhere.
type otlpTargets struct{ logs, metrics *otlp.Target }

func findOTLP(cfg *config.Run) (t otlpTargets, err error) {
	if t.logs, err = otlp.Find(cfg.OTLPEndpoint, otlp.LogsSignal, os.LookupEnv); err != nil {
		return t, err
	}
	t.metrics, err = otlp.Find(cfg.OTLPEndpoint, otlp.MetricsSignal, os.LookupEnv)
	return t, err
}

func (r *records) openOTLP(in *agentInput) error {
	if in.OTLP.logs == nil && in.OTLP.metrics == nil {
		return nil
	}
	routeOTEL(in.Log)
	agent, err := otlp.NewAgent(r.ctx, otlp.Identity{Version: thisBuild().Version, Host: hostName(), Node: os.Getenv("NODE_NAME")})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if t := in.OTLP.logs; t != nil {
		w, err := otlp.OpenLogs(r.ctx, t, agent)
		if err != nil {
			return err
		}
		r.lines = append(r.lines, r.start(w, "OTLP logs", "otlp", in.Metrics, otlp.LogsBatch))
	}
	if in.OTLP.metrics == nil {
		return nil
	}
	return r.openOTLPMetrics(in, agent)
}

func (r *records) openOTLPMetrics(in *agentInput, agent *otlp.Agent) error {
	interval, err := otlp.Interval(os.LookupEnv)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	failing := false
	// Not r.ctx: the last values are sent when it has ended.
	m, err := otlp.OpenMetrics(context.Background(), in.OTLP.metrics, otlp.MetricsOptions{
		Agent: agent, Gatherer: in.Metrics.Registry(), Interval: interval,
		Told: func(err error) {
			in.Metrics.Pushed(err == nil)
			switch {
			case err != nil && !failing:
				in.Log.Error().Err(err).Msg("metrics cannot be sent; the next attempt sends the totals")
			case err == nil && failing:
				in.Log.Info().Msg("metrics are sent again")
			}
			failing = err != nil
		},
	})
	r.pushed = m
	return err
}

// routeOTEL makes what the SDK and net/http say by themselves diagnostics like
// others; by default they write lines of their own to stderr.
func routeOTEL(log zerolog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(log.With().Str(zerolog.LevelFieldName, zerolog.LevelWarnValue).Logger())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Error().Err(err).Msg("OpenTelemetry")
	}))
	otel.SetLogger(funcr.New(func(_, args string) {
		log.Warn().Str("detail", args).Msg("OpenTelemetry")
	}, funcr.Options{}))
}
