package serve

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// kernelStats shows the counters of the kernel side that mean work and not loss.
type kernelStats struct{ last atomic.Pointer[flow.Stats] }

// Kernel takes the kernel side's counters, as they were read last.
func (m *Metrics) Kernel(s flow.Stats) { m.kernel.last.Store(&s) }

func kernelDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tcplimbo_kernel_"+name, help, nil, nil)
}

var (
	kernelPromotions = kernelDesc("promotions_total", "Sockets that outlived a tick in a watched state and were handed to user space.")
	kernelStale      = kernelDesc("stale_entries_total", "Entries of the old generation found to belong to a socket that is gone.")
	kernelEarly      = kernelDesc("early_looks_total", "Young slots looked at before their time because their ring came round; connections pay for it.")
	kernelNested     = kernelDesc("nested_transitions_total", "State changes inside another one, seen by the second program only.")
	kernelHidden     = kernelDesc("hidden_transitions_total", "State changes inside another one that no program was attached for; a walk follows.")
	kernelStacks     = kernelDesc("stacks_total", "Distinct user stacks taken, of who opened connections or read their end of file.")
	kernelRefused    = kernelDesc("stacks_refused_total", "User stacks not taken, because more connections are opened than the budget allows.")
	kernelStackLost  = kernelDesc("stacks_lost_total", "User stacks that found no room in the kernel.")
	kernelLacking    = kernelDesc("refused_programs_total", "Programs that the kernel did not load or attach after the start; what they are for is lacking.")
	kernelTracked    = kernelDesc("tracked_sockets", "Sockets in the old generation now; --max-promoted bounds it.")
)

// Describe implements prometheus.Collector.
func (k *kernelStats) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		kernelPromotions, kernelStale, kernelEarly, kernelNested, kernelHidden,
		kernelStacks, kernelRefused, kernelStackLost, kernelLacking, kernelTracked,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (k *kernelStats) Collect(out chan<- prometheus.Metric) {
	s := k.last.Load()
	if s == nil {
		s = new(flow.Stats)
	}
	emit := func(d *prometheus.Desc, t prometheus.ValueType, v uint64) {
		out <- prometheus.MustNewConstMetric(d, t, float64(v))
	}
	emit(kernelPromotions, prometheus.CounterValue, s.Promoted)
	emit(kernelStale, prometheus.CounterValue, s.Stale)
	emit(kernelEarly, prometheus.CounterValue, s.YoungOverrun)
	emit(kernelNested, prometheus.CounterValue, s.Nested)
	emit(kernelHidden, prometheus.CounterValue, s.Hidden)
	emit(kernelStacks, prometheus.CounterValue, s.Stacks)
	emit(kernelRefused, prometheus.CounterValue, s.StacksRefused)
	emit(kernelStackLost, prometheus.CounterValue, s.StacksLost)
	emit(kernelLacking, prometheus.CounterValue, s.Refused)
	emit(kernelTracked, prometheus.GaugeValue, s.Tracked)
}
