package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// reasons is the contract's table of which reasons a kind can have.
var reasons = [finding.KindCount][]finding.Reason{
	finding.SynSentStalled: {
		finding.NoReply, finding.DroppedLocally, finding.Unreachable, finding.ListenerOverflow,
	},
	finding.FinWait2Dangling: {finding.HalfClosed, finding.Orphaned},
	finding.CloseWaitSilent: {
		finding.EOFIgnored, finding.EOFUnread, finding.StillSending, finding.Unaccepted,
	},
	finding.EstablishedStalled: {
		finding.PeerSilent, finding.ZeroWindow, finding.NotReading, finding.Unaccepted,
	},
	finding.ClosingStalled: {finding.PeerSilent, finding.ZeroWindow},
}

// Reasons returns the reasons that a finding of this kind can have.
func Reasons(k finding.Kind) []finding.Reason { return reasons[k] }

var openDesc = prometheus.NewDesc("tcplimbo_sockets",
	"Sockets in limbo right now: findings that are open.", []string{"kind", "reason"}, nil)

// openCollector shows the open findings, those with none included.
type openCollector struct{ m *Metrics }

func (c openCollector) Describe(out chan<- *prometheus.Desc) { out <- openDesc }

func (c openCollector) Collect(out chan<- prometheus.Metric) {
	for _, k := range c.m.kinds {
		for _, r := range Reasons(k) {
			out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue,
				float64(c.m.Open(k, r)), k.String(), r.String())
		}
	}
}
