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

var openDesc = prometheus.NewDesc("tcplimbo_sockets",
	"Sockets in limbo right now: findings that are open. namespace, pod and container are empty where none is known, and \"other\" beyond 256 workloads.",
	[]string{"kind", "reason", "namespace", "pod", "container"}, nil)

// openCollector shows the open findings, those with none included.
type openCollector struct{ m *Metrics }

func (c openCollector) Describe(out chan<- *prometheus.Desc) { out <- openDesc }

func (c openCollector) Collect(out chan<- prometheus.Metric) {
	emit := func(at place, s series, n int64) {
		out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(n),
			s.kind.String(), s.reason.String(), at.namespace, at.pod, at.container)
	}
	nowhere := map[series]int64{}
	c.m.open.each(func(at place, s series, n int64) {
		if at == (place{}) {
			nowhere[s] = n
			return
		}
		emit(at, s, n)
	})
	for _, k := range c.m.kinds {
		for _, r := range reasons[k] {
			emit(place{}, series{k, r}, nowhere[series{k, r}])
		}
	}
}
