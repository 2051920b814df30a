package agent

import "github.com/tcplimbo/tcplimbo/tracer/flow"

// countRetransmits tells the meter by how much the kernel's counters have grown.
func (a *Agent) countRetransmits(stats *flow.Stats) {
	for k, n := range stats.Retransmits {
		if told := a.retransmits[k]; n > told {
			a.meter.Retransmits(flow.RetransmitKind(k).String(), n-told)
			a.retransmits[k] = n
		}
	}
}
