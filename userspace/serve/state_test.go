package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// /healthz follows the beat of the agent's loop, with patience for its pace.
func TestHealthFollowsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s State
		s.SetPace(2 * time.Second)
		handler := Handler(Build{}, NewMetrics(Build{}, []finding.Kind{finding.CloseWaitSilent}), &s)
		get := func(path string) (int, string) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			text, err := io.ReadAll(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			return w.Code, string(text)
		}
		expect := func(path string, code int, text string) {
			t.Helper()
			if gotCode, got := get(path); gotCode != code || !strings.Contains(got, text) {
				t.Errorf("%s: %d %q, want %d %q", path, gotCode, got, code, text)
			}
		}
		time.Sleep(time.Hour) // a start may take long
		expect("/healthz", 200, "ok")
		expect("/readyz", 503, "not attached yet")
		s.SetReady()
		s.Beat()
		const limit = 2*2*time.Second + beatGrace
		time.Sleep(limit)
		expect("/healthz", 200, "ok")
		expect("/readyz", 200, "ok")
		time.Sleep(time.Second)
		expect("/healthz", 503, "the agent's loop has not come round for 20s")
		expect("/readyz", 503, "has not come round")
		s.Beat()
		expect("/healthz", 200, "ok")
		s.SetFailing("standard output is gone")
		expect("/healthz", 503, "standard output is gone")
		s.SetFailing("")
		expect("/healthz", 200, "ok")
	})
}

func TestReloadedMetrics(t *testing.T) {
	m := NewMetrics(Build{}, nil)
	handler := Handler(Build{}, m, new(State))
	has := func(lines ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, line := range lines {
			if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
				t.Errorf("no line %q", line)
			}
		}
	}
	has("tcplimbo_config_last_reload_successful 1",
		`tcplimbo_config_reloads_total{result="success"} 0`, `tcplimbo_config_reloads_total{result="failure"} 0`)
	m.Reloaded(true, time.Unix(1000, 500e6))
	m.Reloaded(false, time.Unix(2000, 0))
	has("tcplimbo_config_last_reload_successful 0", "tcplimbo_config_last_reload_success_timestamp_seconds 1000.5",
		`tcplimbo_config_reloads_total{result="success"} 1`, `tcplimbo_config_reloads_total{result="failure"} 1`)
	m.Reloaded(true, time.Unix(3000, 0))
	has("tcplimbo_config_last_reload_successful 1", "tcplimbo_config_last_reload_success_timestamp_seconds 3000")
}
