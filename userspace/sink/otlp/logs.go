// Package otlp sends records and metrics to an OpenTelemetry collector, by gRPC
// or HTTP.
package otlp

import (
	"bytes"
	"context"
	"fmt"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// Logs sends JSON lines as log records. It implements sink.Writer.
type Logs struct {
	target   *Target
	exporter sdklog.Exporter
	records  *records
}

// OpenLogs returns a writer to a target. Nothing is sent yet: a collector may
// come later than the agent.
func OpenLogs(ctx context.Context, t *Target, a *Agent) (*Logs, error) {
	exporter, err := newLogExporter(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("opening OTLP logs: %w", err)
	}
	return &Logs{target: t, exporter: exporter, records: newRecords(a.common, a.version)}, nil
}

// LogsBatch is how many bytes of lines go into a request; collectors take 4 MB.
const LogsBatch = 64 << 10

// Batch implements sink.Writer.
func (l *Logs) Batch() int { return LogsBatch }

// Alive implements sink.Writer: a collector that is away may come back.
func (l *Logs) Alive() error { return nil }

// Write implements sink.Writer: it sends all of p or nothing.
func (l *Logs) Write(ctx context.Context, p []byte) (int, error) {
	l.records.made = l.records.made[:0]
	for line := range bytes.Lines(p) {
		if err := l.records.add(line); err != nil {
			// Nothing that a second try would cure, and nothing that can be.
			return len(p), &sink.RejectedError{Records: bytes.Count(p, []byte{'\n'}), Err: err}
		}
	}
	err := l.exporter.Export(ctx, l.records.made)
	clear(l.records.made)
	if err == nil {
		return len(p), nil
	}
	return l.target.judge(err, p)
}

// closeWithin bounds saying goodbye to a collector that does not answer.
const closeWithin = 200 * time.Millisecond

// Close implements sink.Writer.
func (l *Logs) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := l.exporter.Shutdown(ctx); err != nil {
		return fmt.Errorf("closing OTLP logs: %w", err)
	}
	return nil
}
