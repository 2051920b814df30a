package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
)

// taken returns an address that somebody listens on.
func taken(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestTakenMetricsAddress(t *testing.T) {
	addr := taken(t)
	want := `tcplimbo: --metrics-addr: "` + addr + `" is taken by another program; give another address, or '' for none`
	w := newTestWorld(t)
	w.runAgent = func(context.Context, *agentInput) error { return errors.New("must not start") }
	code := w.run(t, "run", "--metrics-addr", addr)
	if got := oneLine(t, w.errs.String()); code != 1 || got != want {
		t.Errorf("by flag: got %d %s", code, got)
	}
	w = newTestWorld(t)
	w.env["TCPLIMBO_METRICS_ADDR"] = addr
	code = w.run(t, "run")
	if got := oneLine(t, w.errs.String()); code != 1 || got != want {
		t.Errorf("by environment: got %d %s", code, got)
	}
}

// TestDefaultMetricsAddressTaken: a second daemon goes on without.
func TestDefaultMetricsAddressTaken(t *testing.T) {
	cfg, err := config.Load(nil, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	cfg.MetricsAddr = taken(t) // stands for the default: its source is unchanged
	var errs bytes.Buffer
	in := &agentInput{
		Config: cfg, Log: newLogger(&errs, terminal{}),
		Metrics: serve.NewMetrics(serve.Build{}, cfg.Kinds()), State: new(serve.State),
	}
	server, err := startServer(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if errs.Len() != 0 {
		t.Errorf("said before it is ready: %s", errs.String())
	}
	server.announce()
	server.wait()
	for _, want := range []string{`"level":"warn"`, "is taken by another program", `"message":"running without metrics"`} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("no %q in %s", want, errs.String())
		}
	}
}

func TestMetricsErrors(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EADDRNOTAVAIL: `--metrics-addr: "a:1" is not an address of this host; give another one, or '' for none`,
		syscall.EACCES:        `--metrics-addr: "a:1" must not be opened by this user; give a port above 1023, or '' for none`,
		syscall.EMFILE:        `--metrics-addr: too many open files; give another address, or '' for none`,
	} {
		if got := metricsError("a:1", err).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRunServes(t *testing.T) {
	addr := freeAddress(t)
	w := newTestWorld(t)
	w.runAgent = func(ctx context.Context, in *agentInput) error {
		in.Metrics.Opened(finding.CloseWaitSilent, finding.EOFIgnored, nil)
		before := fetch(ctx, addr, "/readyz")
		if err := in.Ready(); err != nil {
			return err
		}
		for _, tt := range []struct{ path, want string }{
			{"/readyz", "200 ok\n"},
			{"/healthz", "200 ok\n"},
			{"/metrics", `tcplimbo_sockets{container="",kind="close_wait_silent",namespace="",pod="",reason="eof_ignored"} 1` + "\n"},
			{"/metrics", `tcplimbo_lost_records_total{stage="ring_buffer"} 0` + "\n"},
			{"/metrics", `tcplimbo_events_total{type="promoted"} 0` + "\n"},
			{"/metrics", `tcplimbo_retransmits_total{kind="tlp"} 0` + "\n"},
		} {
			if got := fetch(ctx, addr, tt.path); !strings.Contains(got, tt.want) {
				return errors.New(tt.path + " answers " + got)
			}
		}
		if !strings.HasPrefix(before, "503 ") {
			return errors.New("ready before it was: " + before)
		}
		return nil
	}
	if code := w.run(t, "run", "--metrics-addr", addr, "--syn-sent", "0"); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.errs.String())
	}
	if !strings.Contains(w.errs.String(), addr) {
		t.Errorf("the address is not announced: %s", w.errs.String())
	}
	if got := fetch(t.Context(), addr, "/healthz"); !strings.Contains(got, "connection refused") {
		t.Errorf("still served after the end: %s", got)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	var addr string
	t.Run("free", func(t *testing.T) { addr = taken(t) }) // its clean-up closes it
	return addr
}

// fetch returns status and body, or the error's text.
func fetch(ctx context.Context, addr, path string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return err.Error()
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return resp.Status[:4] + string(body)
}
