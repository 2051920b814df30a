package serve

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// SinkStats is what a sink has done since it started. It has the fields of
// sink.Stats, so that one converts to the other.
type SinkStats struct {
	// Queued records and QueuedBytes wait now, at most CapacityBytes.
	Queued, QueuedBytes, CapacityBytes uint64
	// Written, DroppedFindings and DroppedTransitions are totals in records.
	Written                             uint64
	DroppedFindings, DroppedTransitions uint64
	// Errors counts failed attempts to write.
	Errors uint64
}

// AddSink shows a sink's numbers; read is called at each scrape. A second sink
// of the same name replaces the first.
func (m *Metrics) AddSink(name string, read func() SinkStats) { m.sinks.add(name, read) }

type sink struct {
	name string
	read func() SinkStats
}

type sinkCollector struct {
	mu    sync.Mutex
	sinks []sink
}

func newSinkCollector() *sinkCollector { return &sinkCollector{} }

func (c *sinkCollector) add(name string, read func() SinkStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sinks = slices.DeleteFunc(c.sinks, func(s sink) bool { return s.name == name })
	c.sinks = append(c.sinks, sink{name, read})
}

func sinkDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tcplimbo_sink_"+name, help, append([]string{"sink"}, labels...), nil)
}

var (
	sinkQueuedRecords = sinkDesc("queued_records", "Records that wait to be written.")
	sinkQueuedBytes   = sinkDesc("queued_bytes", "Bytes that wait to be written.")
	sinkCapacity      = sinkDesc("queue_capacity_bytes", "Bytes that may wait before records are dropped.")
	sinkWritten       = sinkDesc("written_records_total", "Records written.")
	sinkDropped       = sinkDesc("dropped_records_total", "Records dropped: the queue was full, or closed before they were written.", "type")
	sinkErrors        = sinkDesc("errors_total", "Attempts to write that went wrong.")
)

func (c *sinkCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sinkQueuedRecords, sinkQueuedBytes, sinkCapacity, sinkWritten, sinkDropped, sinkErrors} {
		out <- d
	}
}

func (c *sinkCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	sinks := slices.Clone(c.sinks)
	c.mu.Unlock()
	for _, s := range sinks {
		stats := s.read()
		emit := func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, t, float64(v), append([]string{s.name}, labels...)...)
		}
		emit(sinkQueuedRecords, prometheus.GaugeValue, stats.Queued)
		emit(sinkQueuedBytes, prometheus.GaugeValue, stats.QueuedBytes)
		emit(sinkCapacity, prometheus.GaugeValue, stats.CapacityBytes)
		emit(sinkWritten, prometheus.CounterValue, stats.Written)
		emit(sinkDropped, prometheus.CounterValue, stats.DroppedFindings, "finding")
		emit(sinkDropped, prometheus.CounterValue, stats.DroppedTransitions, "transition")
		emit(sinkErrors, prometheus.CounterValue, stats.Errors)
	}
}
