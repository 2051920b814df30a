package deploytest

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var rulesFolder = filepath.Join(root, "deploy", "prometheus")

func TestRulesByPromtool(t *testing.T) {
	promtool := tool(t, "promtool")
	output(t, promtool, "check", "rules", filepath.Join(rulesFolder, "tcplimbo.rules.yaml"))
	output(t, promtool, "test", "rules", filepath.Join(rulesFolder, "tcplimbo.test.yaml"))
}

// TestEachRuleIsTested: promtool's tests name every alert.
func TestEachRuleIsTested(t *testing.T) {
	tests := read(t, filepath.Join(rulesFolder, "tcplimbo.test.yaml"))
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, filepath.Join(rulesFolder, "tcplimbo.rules.yaml")), -1) {
		if !strings.Contains(tests, m[1]) {
			t.Errorf("no test of %s", m[1])
		}
	}
}

// TestRealPrometheus: an agent, a leak, Prometheus with our rules, Alertmanager
// and a webhook; and the dashboard's queries.
func TestRealPrometheus(t *testing.T) {
	needRoot(t)
	_, agent := runAgent(t, onlyOurs(t)...)
	hook := newWebhook(t)
	alerts := startAlertmanager(t, hook.URL)
	api := startPrometheus(t, agent, alerts)

	leaked := leakSockets(t, "close-wait-ignored", 5)
	hook.wait(t, "TcplimboForgottenSockets", "firing")
	leaked.end()
	hook.wait(t, "TcplimboForgottenSockets", "resolved")

	// Opened and resolved once, now one is open, and data waits: every query has
	// something to show.
	leakSockets(t, "close-wait-ignored", 5)
	writeSlowly(t)
	t.Run("dashboard", func(t *testing.T) {
		for _, query := range dashboardQueries(t) {
			t.Run(query.title, func(t *testing.T) {
				until(t, 20*time.Second, func() string { return hasData(t, api, query.expr) })
			})
		}
	})
	// What is on the dashboard and in the rules is all that they name.
	t.Run("names", func(t *testing.T) { everyMetricExists(t, api) })
}

func startAlertmanager(t *testing.T, hook string) string {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	file := filepath.Join(dir, "alertmanager.yml")
	write(t, file, fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname, instance], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: %q, send_resolved: true}]}]
`, hook))
	startPart(t, "prometheus-alertmanager", "--config.file", file, "--storage.path", dir, "--web.listen-address", address, "--cluster.listen-address", "")
	ready(t, "http://"+address+"/-/ready")
	return address
}

func startPrometheus(t *testing.T, agent, alerts string) string {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	// The rules as they are, but told at once: promtool's tests hold them to their times.
	rules := regexp.MustCompile(`(?m)^( +for: ).*$`).ReplaceAllString(read(t, filepath.Join(rulesFolder, "tcplimbo.rules.yaml")), "${1}0s")
	write(t, filepath.Join(dir, "rules.yml"), rules)
	file := filepath.Join(dir, "prometheus.yml")
	write(t, file, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: tcplimbo, honor_labels: true, static_configs: [{targets: [%q]}]}]
`, alerts, agent))
	startPart(t, "prometheus", "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	ready(t, "http://"+address+"/-/ready")
	return "http://" + address + "/api/v1/"
}

func ready(t *testing.T, url string) {
	t.Helper()
	until(t, 30*time.Second, func() string {
		answer, err := http.Get(url)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return url + ": " + answer.Status
		}
		return ""
	})
}

// webhook collects what Alertmanager delivers.
type webhook struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newWebhook(t *testing.T) *webhook {
	w := &webhook{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &message); err != nil {
			t.Errorf("webhook got %s: %v", body, err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, a := range message.Alerts {
			w.got = append(w.got, a.Labels["alertname"]+" "+a.Status)
		}
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *webhook) wait(t *testing.T, alert, status string) {
	t.Helper()
	until(t, 2*time.Minute, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if slices.Contains(w.got, alert+" "+status) {
			return ""
		}
		return fmt.Sprintf("%s is not %s, delivered was %q", alert, status, w.got)
	})
}

// ask sends a query to Prometheus and returns the data of its answer.
func ask(t *testing.T, url string, data any) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if body.Status != "success" {
		t.Fatalf("%s: %s", url, body.Error)
	}
	if err := json.Unmarshal(body.Data, data); err != nil {
		t.Fatal(err)
	}
}

// hasData says what is wrong with the answer to a query: that there is none, or
// that it is no number.
func hasData(t *testing.T, api, expr string) string {
	var data struct {
		Result []struct{ Value [2]any }
	}
	ask(t, api+"query?query="+url.QueryEscape(expr), &data)
	for _, r := range data.Result {
		if n, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); err == nil && !math.IsNaN(n) {
			return ""
		}
	}
	return fmt.Sprintf("%s has %d series and no number", expr, len(data.Result))
}

// everyMetricExists: a rule on a metric that is never there never fires, and
// nobody would notice.
func everyMetricExists(t *testing.T, api string) {
	var names []string
	ask(t, api+"label/__name__/values", &names)
	text := read(t, filepath.Join(rulesFolder, "tcplimbo.rules.yaml"))
	for _, q := range dashboardQueries(t) {
		text += q.expr + "\n"
	}
	for _, name := range regexp.MustCompile(`\btcplimbo_[a-z0-9_]+`).FindAllString(text, -1) {
		if !slices.Contains(names, name) {
			t.Errorf("%s is used and was not scraped", name)
		}
	}
}
