package serve

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/writequeue"
)

//go:embed status.html
var statusHTML string

// statusPage shows the counts of the open findings.
type statusPage struct {
	page    *template.Template
	build   Build
	metrics *Metrics
	state   *State
	started time.Time
}

func newStatusPage(build Build, metrics *Metrics, state *State) *statusPage {
	return &statusPage{
		page:  template.Must(template.New("status").Parse(statusHTML)),
		build: build, metrics: metrics, state: state, started: time.Now(),
	}
}

type statusRow struct {
	Kind, Reason string
	Open         int64
}

type statusData struct {
	Build   Build
	Up      time.Duration
	Problem string
	Total   int64
	Rows    []statusRow
	Off     []string
	Queues  []queueRow
}

// queueRow is a service and a peer, as people read it.
type queueRow struct {
	Service, Peer, Pending, Undrained, P50, P99 string
	Sockets, Samples                            uint64
	Over                                        bool
}

func (p *statusPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var page bytes.Buffer
	if err := p.page.Execute(&page, p.data()); err != nil {
		http.Error(w, fmt.Sprintf("writing the status page: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes()) // a client that left needs no answer
}

func (p *statusPage) data() statusData {
	d := statusData{
		Build:   p.build,
		Up:      time.Since(p.started).Round(time.Second),
		Problem: p.state.Readiness(),
		Off:     p.off(),
		Queues:  queueRows(p.metrics.QueueRows()),
	}
	for _, k := range p.metrics.kinds {
		for _, r := range reasons[k] {
			open := p.metrics.Open(k, r)
			d.Total += open
			d.Rows = append(d.Rows, statusRow{k.String(), r.String(), open})
		}
	}
	return d
}

func queueRows(rows []writequeue.Row) []queueRow {
	shown := make([]queueRow, len(rows))
	for i := range rows {
		r := &rows[i]
		end := func(ap netip.AddrPort) string {
			if ap.Port() == 0 {
				return string(readable.AppendAddr(nil, ap.Addr()))
			}
			return string(readable.AppendAddrPort(nil, ap))
		}
		shown[i] = queueRow{
			Service: end(r.Local), Peer: end(r.Peer), Pending: readable.Size(r.Pending()), Undrained: readable.Age(r.Undrained),
			Sockets: r.Sockets, Samples: r.Samples, Over: r.Over != [finding.QueueLimits]bool{},
		}
		if r.Samples > 0 {
			shown[i].P50, shown[i].P99 = r.P50.Round(time.Millisecond).String(), r.P99.Round(time.Millisecond).String()
		}
	}
	return shown
}

// off lists the kinds that nobody looks for: no row is not the same as zero.
func (p *statusPage) off() []string {
	on := map[finding.Kind]bool{}
	for _, k := range p.metrics.kinds {
		on[k] = true
	}
	var off []string
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		if !on[k] {
			off = append(off, k.String())
		}
	}
	return off
}
