package serve

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// SinkStats is what a sink has done since it started.
type SinkStats struct {
	// QueuedRecords and QueuedBytes wait now.
	QueuedRecords, QueuedBytes int64
	// Written, Dropped and Errors are totals: records, records, failed writes.
	Written, Dropped, Errors uint64
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

func sinkDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tcplimbo_sink_"+name, help, []string{"sink"}, nil)
}

var (
	sinkQueuedRecords = sinkDesc("queued_records", "Records that wait to be written.")
	sinkQueuedBytes   = sinkDesc("queued_bytes", "Bytes that wait to be written.")
	sinkWritten       = sinkDesc("written_records_total", "Records written.")
	sinkDropped       = sinkDesc("dropped_records_total", "Records dropped because the queue was full.")
	sinkErrors        = sinkDesc("errors_total", "Writes that went wrong.")
)

func (c *sinkCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sinkQueuedRecords, sinkQueuedBytes, sinkWritten, sinkDropped, sinkErrors} {
		out <- d
	}
}

func (c *sinkCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	sinks := slices.Clone(c.sinks)
	c.mu.Unlock()
	for _, s := range sinks {
		stats := s.read()
		gauge := func(d *prometheus.Desc, v int64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), s.name)
		}
		total := func(d *prometheus.Desc, v uint64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), s.name)
		}
		gauge(sinkQueuedRecords, stats.QueuedRecords)
		gauge(sinkQueuedBytes, stats.QueuedBytes)
		total(sinkWritten, stats.Written)
		total(sinkDropped, stats.Dropped)
		total(sinkErrors, stats.Errors)
	}
}
