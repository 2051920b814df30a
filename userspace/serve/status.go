package serve

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
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
	}
	for _, k := range p.metrics.kinds {
		for _, r := range Reasons(k) {
			open := p.metrics.Open(k, r)
			d.Total += open
			d.Rows = append(d.Rows, statusRow{k.String(), r.String(), open})
		}
	}
	return d
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
