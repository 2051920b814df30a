package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapes at once; more are refused. Each holds all metrics in memory.
const scrapes = 4

// scrapeTimeout is Prometheus' default scrape timeout.
const scrapeTimeout = 10 * time.Second

// Handler answers /metrics, /healthz, /readyz and the status page.
func Handler(build Build, metrics *Metrics, state *State) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(metrics.registry,
		promhttp.HandlerFor(metrics.registry, promhttp.HandlerOpts{
			Registry:            metrics.registry,
			MaxRequestsInFlight: scrapes,
			Timeout:             scrapeTimeout,
		})))
	mux.HandleFunc("GET /healthz", probe(state.Health))
	mux.HandleFunc("GET /readyz", probe(state.Readiness))
	mux.Handle("GET /{$}", newStatusPage(build, metrics, state))
	return withHeaders(mux)
}

// probe answers 200 "ok" or 503 and the reason, as kubelet and people expect.
func probe(problem func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		answer := "ok"
		if why := problem(); why != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer = why
		}
		_, _ = w.Write([]byte(answer + "\n")) // a client that left needs no answer
	}
}

// withHeaders makes browsers take every answer as what it says it is, and
// nothing else from anywhere.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
