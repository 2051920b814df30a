package serve

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// hostCollector shows the host's sockets by state, and how full and busy the
// kernel side is. There is nothing before the first look, and nothing where
// nobody counts.
type hostCollector struct {
	census atomic.Pointer[flow.Census]
	usage  atomic.Pointer[flow.Usage]
}

// Census takes how many sockets a walk met in each state.
func (m *Metrics) Census(c flow.Census) { m.host.census.Store(&c) }

// Usage takes how full and busy the kernel side is.
func (m *Metrics) Usage(u flow.Usage) { m.host.usage.Store(&u) }

var (
	tcpSockets = prometheus.NewDesc("tcplimbo_tcp_sockets",
		"TCP sockets of the host in each state, all network namespaces together, at the last walk; a closed socket is in no table that is walked.",
		[]string{"state"}, nil)
	ringFill    = prometheus.NewDesc("tcplimbo_ring_buffer_fill_bytes", "The most that waited in the ring buffer when it was read, in the last seconds.", nil, nil)
	ringSize    = prometheus.NewDesc("tcplimbo_ring_buffer_size_bytes", "What the ring buffer holds.", nil, nil)
	mapUsed     = prometheus.NewDesc("tcplimbo_map_elements", "Elements in use of a map of the kernel side.", []string{"map"}, nil)
	mapCapacity = prometheus.NewDesc("tcplimbo_map_capacity_elements", "Elements that a map of the kernel side holds.", []string{"map"}, nil)
	programRuns = prometheus.NewDesc("tcplimbo_program_runs_total",
		"Runs of a BPF program; only where kernel.bpf_stats_enabled is on.", []string{"program"}, nil)
	programTime = prometheus.NewDesc("tcplimbo_program_run_seconds_total",
		"Time that a BPF program ran; only where kernel.bpf_stats_enabled is on.", []string{"program"}, nil)
	programMissed = prometheus.NewDesc("tcplimbo_program_missed_runs_total",
		"Runs that the kernel left out because the program was running on that CPU already.", []string{"program"}, nil)
)

// Describe implements prometheus.Collector.
func (c *hostCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tcpSockets, ringFill, ringSize, mapUsed, mapCapacity, programRuns, programTime, programMissed,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *hostCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	if census := c.census.Load(); census != nil {
		// The last state is the one before it in another guise.
		for s := flow.StateUnknown + 1; s < flow.StateNewSynRecv; s++ {
			gauge(tcpSockets, census[s], s.String())
		}
	}
	u := c.usage.Load()
	if u == nil {
		return
	}
	gauge(ringFill, u.RingFill)
	gauge(ringSize, u.RingSize)
	for _, m := range u.Maps {
		gauge(mapUsed, m.Used, m.Name)
		gauge(mapCapacity, m.Capacity, m.Name)
	}
	collectPrograms(out, u.Programs)
}

func collectPrograms(out chan<- prometheus.Metric, programs []flow.ProgramUse) {
	counter := func(d *prometheus.Desc, v float64, program string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, program)
	}
	counted := false
	for _, p := range programs {
		counted = counted || p.Runs > 0
	}
	for _, p := range programs {
		counter(programMissed, float64(p.Missed), p.Name)
		if counted {
			counter(programRuns, float64(p.Runs), p.Name)
			counter(programTime, p.Time.Seconds(), p.Name)
		}
	}
}
