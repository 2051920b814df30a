package otlp

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Metrics sends what /metrics shows, under the same names, at an interval. Its
// counters are totals, so that a collector that was away misses none of what
// happened.
type Metrics struct {
	target   *Target
	producer metric.Producer
	exporter metric.Exporter
	res      *resource.Resource
	told     func(error)

	stop context.CancelFunc
	done chan struct{}
}

// MetricsOptions are what OpenMetrics needs; all are required.
type MetricsOptions struct {
	Agent    *Agent
	Gatherer prometheus.Gatherer
	Interval time.Duration
	// Told is called after each attempt, with its error or nil, from one
	// goroutine.
	Told func(error)
}

// OpenMetrics begins to send metrics.
func OpenMetrics(ctx context.Context, t *Target, opt MetricsOptions) (*Metrics, error) {
	exporter, err := newMetricExporter(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("opening OTLP metrics: %w", err)
	}
	m := &Metrics{
		target: t, exporter: exporter, res: opt.Agent.own, told: opt.Told, done: make(chan struct{}),
		producer: bridge.NewMetricProducer(bridge.WithGatherer(opt.Gatherer)),
	}
	ctx, m.stop = context.WithCancel(ctx)
	go m.run(ctx, opt.Interval)
	return m, nil
}

func (m *Metrics) run(ctx context.Context, interval time.Duration) {
	defer close(m.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var quiet time.Time // until then the collector asked to be left alone
	for {
		select {
		case now := <-ticker.C:
			if now.Before(quiet) {
				continue
			}
			err := m.send(ctx)
			if ctx.Err() == nil {
				m.told(err)
			}
			quiet = time.Now().Add(retryAfter(err))
		case <-ctx.Done():
			return
		}
	}
}

func (m *Metrics) send(ctx context.Context) error {
	scopes, err := m.producer.Produce(ctx)
	if err != nil {
		return fmt.Errorf("collecting metrics: %w", err)
	}
	err = m.exporter.Export(ctx, &metricdata.ResourceMetrics{Resource: m.res, ScopeMetrics: scopes})
	if err != nil {
		return m.target.explain(err)
	}
	return nil
}

// Close sends the last values and ends, both until ctx is done.
func (m *Metrics) Close(ctx context.Context) error {
	m.stop()
	<-m.done
	err := m.send(ctx)
	m.told(err)
	if closeErr := m.exporter.Shutdown(ctx); err == nil && closeErr != nil {
		err = fmt.Errorf("closing OTLP metrics: %w", closeErr)
	}
	return err
}
