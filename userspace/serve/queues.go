package serve

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

// queueCollector shows what the last patrol found waiting to be sent or
// acknowledged, one moment's numbers together. There is nothing before the first
// patrol, and nothing at all where none looks: a zero would say that all is well.
type queueCollector struct {
	last atomic.Pointer[queueState]
}

type queueState struct {
	flow.WriteQueues
	rows  []writequeue.Row
	above [finding.QueueLimits]int
}

func queueDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tcplimbo_write_queue_"+name, help, labels, nil)
}

var (
	queueSockets = queueDesc("sockets", "ESTABLISHED sockets with data that is not acknowledged, at the last patrol.")
	queueUnsent  = queueDesc("unsent_bytes", "Bytes written to ESTABLISHED sockets and not sent.")
	queueUnacked = queueDesc("unacked_bytes", "Bytes sent on ESTABLISHED sockets and not acknowledged.")
	queueQuiet   = queueDesc("quiet_seconds_max", "The longest time that an ESTABLISHED socket with unacknowledged data has got no ACK.")
	queueBusy    = queueDesc("busy_seconds_max",
		"The longest time since the queue of an ESTABLISHED socket was empty, or since its peer's window began or ceased to limit it.")
	queueAbove   = queueDesc("above_limit", "Services and peers that are above a limit: --warn-pending, --warn-undrained, --warn-flush-p99.", "limit")
	queueLeftOut = queueDesc("left_out_sockets", "Sockets whose service and peer found no room: they are in the sums, not among the pairs.")
)

func (c *queueCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueSockets, queueUnsent, queueUnacked, queueQuiet, queueBusy, queueAbove, queueLeftOut} {
		out <- d
	}
}

func (c *queueCollector) Collect(out chan<- prometheus.Metric) {
	q := c.last.Load()
	if q == nil {
		return
	}
	for _, v := range []struct {
		desc  *prometheus.Desc
		value float64
	}{
		{queueSockets, float64(q.Sockets)},
		{queueUnsent, float64(q.Unsent)},
		{queueUnacked, float64(q.Unacked)},
		{queueQuiet, q.Quiet.Seconds()},
		{queueBusy, q.Busy.Seconds()},
		{queueLeftOut, float64(q.LeftOut)},
	} {
		out <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, v.value)
	}
	for limit, n := range q.above {
		out <- prometheus.MustNewConstMetric(queueAbove, prometheus.GaugeValue, float64(n), finding.QueueLimit(limit).String())
	}
}

// flushHistogram counts how long written data takes to be acknowledged, all
// services and peers together: those of each are on the status page, for a label
// never holds an address.
func flushHistogram() prometheus.Histogram {
	buckets := make([]float64, len(writequeue.Bounds))
	for i, b := range writequeue.Bounds {
		buckets[i] = b.Seconds()
	}
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "tcplimbo_flush_delay_seconds",
		Help:    "How long what ESTABLISHED sockets had written took to be acknowledged, by observation of some that had data waiting.",
		Buckets: buckets,
	})
}

// Flushed counts a flush delay by its bucket of writequeue.Bounds.
func (m *Metrics) Flushed(bucket int) {
	if bucket < len(writequeue.Bounds) {
		m.flushed.Observe(writequeue.Bounds[bucket].Seconds())
		return
	}
	m.flushed.Observe(2 * writequeue.Bounds[len(writequeue.Bounds)-1].Seconds())
}

// WriteQueues takes what a patrol found.
func (m *Metrics) WriteQueues(q flow.WriteQueues, rows []writequeue.Row, above [finding.QueueLimits]int) {
	q.Pairs = nil // valid until the next patrol only
	m.queues.last.Store(&queueState{q, rows, above})
}

// QueueRows returns the services and peers with most waiting, as the last patrol
// found them.
func (m *Metrics) QueueRows() []writequeue.Row {
	if q := m.queues.last.Load(); q != nil {
		return q.rows
	}
	return nil
}

// Patrol counts a walk that looked for stalled sockets and what it cost.
func (m *Metrics) Patrol(cost time.Duration) {
	m.patrols.Inc()
	m.patrolled.Add(cost.Seconds())
}
