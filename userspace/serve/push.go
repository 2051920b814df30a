package serve

import "github.com/prometheus/client_golang/prometheus"

func newPushes() *prometheus.CounterVec {
	return counter("otlp_metric_exports_total", "Attempts to send metrics to a collector, by how they ended.", "outcome")
}

// Pushed counts an attempt to send the metrics elsewhere.
func (m *Metrics) Pushed(ok bool) {
	outcome := "ok"
	if !ok {
		outcome = "error"
	}
	m.pushes.WithLabelValues(outcome).Inc()
}
