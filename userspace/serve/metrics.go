// Package serve is what the daemon shows over HTTP: metrics, health, readiness
// and a status page. It measures nothing itself; the agent tells it.
package serve

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// Metrics counts what the agent does. All methods may be called from several
// goroutines. No label ever holds an address, a port, a pid or an id: the
// number of series is bounded by the tables of kinds, reasons and outcomes, and by
// maxPlaces.
type Metrics struct {
	registry *prometheus.Registry
	kinds    []finding.Kind

	kernel    kernelStats
	open      *places
	host      hostCollector
	surveys   prometheus.Counter
	surveyed  prometheus.Counter
	named     *prometheus.CounterVec
	findings  *prometheus.CounterVec
	resolved  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	lost      *prometheus.CounterVec
	events    *prometheus.CounterVec
	delay     prometheus.Histogram
	sinks     *sinkCollector
	queues    queueCollector
	patrols   prometheus.Counter
	patrolled prometheus.Counter
	resent    *prometheus.CounterVec
	profiles  *prometheus.CounterVec
	pushes    *prometheus.CounterVec
	reloads   reloads
	flushed   prometheus.Histogram
}

// Build is what identifies the program.
type Build struct{ Version, Revision string }

// NewMetrics makes the metrics for the kinds that are turned on. A kind that is
// turned off has no series: a zero there would say that all is well where
// nobody looks.
func NewMetrics(build Build, kinds []finding.Kind) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		reloads:  newReloads(),
		kinds:    kinds,
		open:     newPlaces(),
		findings: counter("findings_total", "Findings opened, by the reason they opened with.", "kind", "reason"),
		resolved: counter("findings_resolved_total", "Findings resolved, by how they ended.", "kind", "outcome"),
		lost:     counter("lost_records_total", "Kernel records lost, by where; what was lost is read from the sockets instead.", "stage"),
		events:   counter("events_total", "Records read from the kernel.", "type"),
		resent:   counter("retransmits_total", "Segments that the host's TCP sent again, all sockets and namespaces together, by what made it do so.", "kind"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tcplimbo_finding_duration_seconds",
			Help: "How long resolved findings' sockets were in their state.",
			// A connect time-out takes 2 minutes, a leak days.
			Buckets: []float64{5, 15, 30, 60, 120, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600},
			// The native one beside it: each bucket a tenth wider than the last,
			// and fewer of them where there would be too many.
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"kind"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tcplimbo_detection_delay_seconds",
			Help: "Time from the moment a socket passed its threshold to its finding.",
			// The promise is a tick (250 ms) plus 100 ms.
			Buckets: []float64{.01, .025, .05, .1, .15, .25, .35, .5, 1, 2.5, 5, 10},
		}),
		sinks:     newSinkCollector(),
		pushes:    newPushes(),
		patrols:   counter("patrols_total", "Walks that looked for stalled ESTABLISHED sockets.").WithLabelValues(),
		patrolled: counter("patrol_seconds_total", "Time that these walks took.").WithLabelValues(),
		surveys:   counter("surveys_total", "Walks over all connections for what no event told.").WithLabelValues(),
		surveyed:  counter("survey_seconds_total", "CPU time that these walks took.").WithLabelValues(),
		named: counter("attributions_total",
			"Findings opened, by how the process they name stands to the socket; none: no process is named.", "relation"),
		flushed: flushHistogram(),
	}
	m.registry.MustRegister(
		openCollector{m}, m.findings, m.resolved, m.duration, m.lost, m.events, m.resent, m.delay, m.sinks, m.pushes,
		m.reloads.good, m.reloads.last, m.reloads.total,
		&m.kernel, &m.queues, m.patrols, m.patrolled, m.flushed,
		m.surveys, m.surveyed, m.named, &m.host,
		buildInfo(build),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.startAtZero()
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tcplimbo_" + name, Help: help}, labels)
}

func buildInfo(build Build) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tcplimbo_build_info",
		Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": build.Revision, "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}

// startAtZero makes every series exist from the start: a counter that appears
// with its first event has no increase that a query could see.
func (m *Metrics) startAtZero() {
	for _, k := range m.kinds {
		for _, r := range reasons[k] {
			m.findings.WithLabelValues(k.String(), r.String())
		}
		for o := finding.OutcomeNone + 1; o < finding.OutcomeCount; o++ {
			m.resolved.WithLabelValues(k.String(), o.String())
		}
		m.duration.WithLabelValues(k.String())
	}
	for r := range finding.RelationCount {
		m.named.WithLabelValues(r.String())
	}
}

// Registry is where other parts add their own collectors.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Opened counts a finding that opened; w is nil where its workload is not known.
func (m *Metrics) Opened(k finding.Kind, r finding.Reason, w *finding.Workload) {
	m.open.add(series{k, r}, w, 1)
	m.findings.WithLabelValues(k.String(), r.String()).Inc()
}

// Changed moves an open finding from one reason and workload to another.
func (m *Metrics) Changed(k finding.Kind, from, to finding.Reason, was, is *finding.Workload) {
	if from == to && placeOf(was) == placeOf(is) {
		return
	}
	m.open.add(series{k, from}, was, -1)
	m.open.add(series{k, to}, is, 1)
}

// Resolved counts a finding that ended; r and w are those it had last and d how
// long the socket was in the state.
func (m *Metrics) Resolved(k finding.Kind, r finding.Reason, o finding.Outcome, d time.Duration, w *finding.Workload) {
	m.open.add(series{k, r}, w, -1)
	m.resolved.WithLabelValues(k.String(), o.String()).Inc()
	m.duration.WithLabelValues(k.String()).Observe(d.Seconds())
}

// Attributed counts whom a finding named when it opened.
func (m *Metrics) Attributed(r finding.Relation) { m.named.WithLabelValues(r.String()).Inc() }

// Survey counts a walk over all connections and what it cost.
func (m *Metrics) Survey(cost time.Duration) {
	m.surveys.Inc()
	m.surveyed.Add(cost.Seconds())
}

// Open returns how many findings of this kind and reason are open.
func (m *Metrics) Open(k finding.Kind, r finding.Reason) int64 { return m.open.total(series{k, r}) }

// Stages makes the series of lost records of these stages exist, at zero.
func (m *Metrics) Stages(stages ...string) {
	for _, stage := range stages {
		m.lost.WithLabelValues(stage)
	}
}

// Lost counts n records lost in a stage.
func (m *Metrics) Lost(stage string, n uint64) { m.lost.WithLabelValues(stage).Add(float64(n)) }

// Events counts n records of a type that came from the kernel; 0 makes the
// series exist. Call it once a batch, not once a record.
func (m *Metrics) Events(kind string, n uint64) { m.events.WithLabelValues(kind).Add(float64(n)) }

// Retransmits counts n retransmissions of a kind; 0 makes the series exist.
func (m *Metrics) Retransmits(kind string, n uint64) {
	m.resent.WithLabelValues(kind).Add(float64(n))
}

// Delay observes how late a finding was.
func (m *Metrics) Delay(d time.Duration) { m.delay.Observe(max(d, 0).Seconds()) }
