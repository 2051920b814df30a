package serve

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// queueCollector shows what the last patrol found waiting to be sent or
// acknowledged, one moment's numbers together. There is nothing before the first
// patrol, and nothing at all where none looks: a zero would say that all is well.
type queueCollector struct {
	last atomic.Pointer[flow.WriteQueues]
}

func queueDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tcplimbo_write_queue_"+name, help, nil, nil)
}

var (
	queueSockets = queueDesc("sockets", "ESTABLISHED sockets with data that is not acknowledged, at the last patrol.")
	queueUnsent  = queueDesc("unsent_bytes", "Bytes written to ESTABLISHED sockets and not sent.")
	queueUnacked = queueDesc("unacked_bytes", "Bytes sent on ESTABLISHED sockets and not acknowledged.")
	queueQuiet   = queueDesc("quiet_seconds_max", "The longest time that an ESTABLISHED socket with unacknowledged data has got no ACK.")
	queueBusy    = queueDesc("undrained_seconds_max",
		"The longest time since the queue of an ESTABLISHED socket drained, or since its peer's window began or ceased to limit it.")
)

func (c *queueCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueSockets, queueUnsent, queueUnacked, queueQuiet, queueBusy} {
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
	} {
		out <- prometheus.MustNewConstMetric(v.desc, prometheus.GaugeValue, v.value)
	}
}

// WriteQueues takes what a patrol found.
func (m *Metrics) WriteQueues(q flow.WriteQueues) { m.queues.last.Store(&q) }

// Patrol counts a walk that looked for stalled sockets and what it cost.
func (m *Metrics) Patrol(cost time.Duration) {
	m.patrols.Inc()
	m.patrolled.Add(cost.Seconds())
}
