package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloads tells how the configuration was taken.
type reloads struct {
	good  prometheus.Gauge
	last  prometheus.Gauge
	total *prometheus.CounterVec
}

func newReloads() reloads {
	r := reloads{
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tcplimbo_config_last_reload_successful",
			Help: "1 if the configuration was read without an error the last time, 0 if an older one is in effect.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tcplimbo_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration that is in effect was read.",
		}),
		total: counter("config_reloads_total", "Times that the configuration was read again, by how that went.", "result"),
	}
	r.good.Set(1)
	r.last.SetToCurrentTime()
	for _, result := range []string{"success", "failure"} {
		r.total.WithLabelValues(result)
	}
	return r
}

// Reloaded counts an attempt to read the configuration again at that time.
func (m *Metrics) Reloaded(good bool, at time.Time) {
	if !good {
		m.reloads.good.Set(0)
		m.reloads.total.WithLabelValues("failure").Inc()
		return
	}
	m.reloads.good.Set(1)
	m.reloads.last.Set(float64(at.UnixMilli()) / 1e3)
	m.reloads.total.WithLabelValues("success").Inc()
}
