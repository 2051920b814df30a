package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w.Code, w.Body.String()
}

func TestProbes(t *testing.T) {
	var state State
	h := Handler(Build{}, newTestMetrics(), &state)
	check := func(when, path string, wantCode int, wantBody string) {
		t.Helper()
		if code, body := get(t, h, "GET", path); code != wantCode || body != wantBody {
			t.Errorf("%s: %s answers %d %q, want %d %q", when, path, code, body, wantCode, wantBody)
		}
	}
	check("at start", "/healthz", 200, "ok\n")
	check("at start", "/readyz", 503, "not attached yet, or the first snapshot is not done\n")
	state.SetReady()
	check("when ready", "/readyz", 200, "ok\n")
	state.SetFailing("the ring buffer has not been read for 30s")
	check("when failing", "/healthz", 503, "the ring buffer has not been read for 30s\n")
	check("when failing", "/readyz", 503, "the ring buffer has not been read for 30s\n")
	state.SetFailing("")
	check("when well again", "/healthz", 200, "ok\n")
	check("when well again", "/readyz", 200, "ok\n")
}

func TestRoutes(t *testing.T) {
	h := Handler(Build{}, newTestMetrics(), new(State))
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"GET", "/metrics", 200},
		{"POST", "/metrics", 405},
		{"DELETE", "/", 405},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/favicon.ico", 404},
		{"GET", "/../etc/passwd", 307}, // cleaned to /etc/passwd, which is not there
	}
	for _, tt := range tests {
		if code, _ := get(t, h, tt.method, tt.path); code != tt.want {
			t.Errorf("%s %s answers %d, want %d", tt.method, tt.path, code, tt.want)
		}
	}
}

func TestStatusPage(t *testing.T) {
	m := NewMetrics(Build{}, []finding.Kind{finding.SynSentStalled, finding.CloseWaitSilent})
	var state State
	h := Handler(Build{Version: "<script>alert(1)</script>", Revision: "abc"}, m, &state)

	_, page := get(t, h, "GET", "/")
	for _, want := range []string{"Nothing is in limbo", "Not ready: not attached yet", "Not looked for: fin_wait2_dangling, established_stalled, closing_stalled."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "<script>") {
		t.Error("the version is not escaped")
	}

	state.SetReady()
	m.Opened(finding.CloseWaitSilent, finding.EOFIgnored, nil)
	_, page = get(t, h, "GET", "/")
	for _, want := range []string{"1 socket in limbo", "Watching.", `<tr class="open"><td>close_wait_silent</td><td>eof_ignored</td><td>1</td></tr>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
}

func TestHeadersKeepBrowsersOut(t *testing.T) {
	h := Handler(Build{}, newTestMetrics(), new(State))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff",
		"Content-Type":           "text/html; charset=utf-8",
		"Cache-Control":          "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// start serves on a free port and returns the server and what ends it.
func start(t *testing.T, h http.Handler) (*Server, func() error) {
	t.Helper()
	s, err := Listen(t.Context(), "127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	return s, func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("it does not end")
		}
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestServeOverTheNetwork(t *testing.T) {
	m := newTestMetrics()
	s, end := start(t, Handler(Build{}, m, new(State)))
	body := fetch(t, "http://"+s.Addr().String()+"/metrics")
	for _, want := range []string{
		"tcplimbo_sockets{container=\"\",kind=\"syn_sent_stalled\",namespace=\"\",pod=\"\",reason=\"no_reply\"} 0\n",
		"tcplimbo_findings_resolved_total{kind=\"close_wait_silent\",outcome=\"reset\"} 0\n",
		"tcplimbo_build_info{", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	again, err := Listen(t.Context(), s.Addr().String(), http.NotFoundHandler())
	if err != nil {
		t.Fatalf("the address is not free after the end: %v", err)
	}
	again.listener.Close()
}

func TestTakenAddress(t *testing.T) {
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Listen(t.Context(), taken.Addr().String(), http.NotFoundHandler())
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want address in use", err)
	}
}

// TestEndsWithAHungClient sees that a request that never ends does not keep
// the daemon from ending.
func TestEndsWithAHungClient(t *testing.T) {
	entered := make(chan struct{})
	s, end := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	began := time.Now()
	if err := end(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > closeTimeout+2*time.Second {
		t.Errorf("ending took %v", took)
	}
}

// TestConnectionsAreLimited opens more connections than there are slots: the
// ones above wait, and get their turn when another closes.
func TestConnectionsAreLimited(t *testing.T) {
	var lc net.ListenConfig
	raw, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(raw, 2)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var d net.Dialer
	for range 3 {
		conn, err := d.DialContext(t.Context(), "tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted beside two")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // a second close frees no second slot
	third := <-accepted
	if l.Close() != nil {
		t.Error("closing the listener")
	}
	if _, more := <-accepted; more {
		t.Error("a connection was accepted after the close")
	}
	second.Close()
	third.Close()
}
