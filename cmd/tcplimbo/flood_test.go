package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/serve"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// flooded are sinks to a file and a collector, without a kernel.
type flooded struct {
	*records
	log string
}

func flood(t *testing.T, collector http.Handler) *flooded {
	t.Helper()
	server := httptest.NewServer(collector)
	t.Cleanup(server.Close)
	log := filepath.Join(t.TempDir(), "log.json")
	cfg, err := config.Load(map[string]string{
		"output": "none", "log-file": log, "otlp-endpoint": server.URL,
	}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	in := &agentInput{
		Config: cfg, Log: zerolog.Nop(), State: new(serve.State),
		Metrics: serve.NewMetrics(serve.Build{}, cfg.Kinds()),
	}
	if in.OTLP, err = findOTLP(cfg); err != nil {
		t.Fatal(err)
	}
	in.OTLP.metrics = nil
	r, err := openRecords(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return &flooded{r, log}
}

// say puts n findings, each with an id of its own.
func (f *flooded) say(n int) {
	fd := sinktest.Findings()[0].Finding
	for i := range n {
		fd.ID = fmt.Sprintf("%020d", i)
		f.Finding(&fd)
	}
}

// stats returns what the file's and the collector's sink did.
func (f *flooded) stats() (file, otlp sink.Stats) { return f.lines[0].Stats(), f.lines[1].Stats() }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// counting is a collector that takes all requests, and none while it is held.
type counting struct {
	held     sync.RWMutex
	mu       sync.Mutex
	requests int
}

func (c *counting) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.held.RLock()
	defer c.held.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
}

// TestFlood: 10,000 findings at once are written by every sink, and a collector
// that does not answer keeps the file waiting for nothing. It takes its findings
// when it is back, as many as its queue holds; the rest is counted.
func TestFlood(t *testing.T) {
	const many = 10_000
	c := new(counting)
	f := flood(t, c)
	c.held.Lock()
	back := sync.OnceFunc(c.held.Unlock)
	t.Cleanup(back) // before the server waits for what is under way
	before := heap()
	begin := time.Now()
	f.say(many)
	t.Logf("%d findings put in %v", many, time.Since(begin))
	awaitWritten(t, f, many)
	if _, otlp := f.stats(); otlp.DroppedFindings != 0 || otlp.Queued < many-200 {
		t.Errorf("%d findings wait for the collector, %d dropped", otlp.Queued, otlp.DroppedFindings)
	}
	if grown := int64(heap() - before); grown > 2*queueBytes {
		t.Errorf("%d MB in memory", grown>>20)
	}

	// Far more than a queue holds: it keeps what came first, and counts.
	for written := uint64(2 * many); written <= 9*many; written += many {
		f.say(many)
		awaitWritten(t, f, written)
	}
	_, otlp := f.stats()
	if otlp.DroppedFindings == 0 || otlp.QueuedBytes > queueBytes {
		t.Errorf("%d bytes wait, %d findings dropped", otlp.QueuedBytes, otlp.DroppedFindings)
	}
	if grown := int64(heap() - before); grown > 3*queueBytes {
		t.Errorf("%d MB in memory", grown>>20)
	}

	back()
	for moved, last := time.Now(), uint64(0); otlp.Written+otlp.DroppedFindings < 9*many; time.Sleep(20 * time.Millisecond) {
		if _, otlp = f.stats(); otlp.Written != last {
			moved, last = time.Now(), otlp.Written
		}
		if time.Since(moved) > time.Minute {
			t.Fatalf("the collector is back, and for a minute none of %d findings was taken", otlp.Queued)
		}
	}
	if otlp.Written < many {
		t.Errorf("%d written after the collector came back", otlp.Written)
	}
	t.Logf("%d written in %d requests, %d dropped", otlp.Written, c.requests, otlp.DroppedFindings)
	if err := f.close(); err != nil {
		t.Error(err)
	}
	if n := countLines(t, f.log); n != 9*many {
		t.Errorf("%d lines in the file, want %d", n, 9*many)
	}
}

// awaitWritten waits until the file's sink wrote so many.
func awaitWritten(t *testing.T, f *flooded, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		file, _ := f.stats()
		if file.DroppedFindings > 0 {
			t.Fatalf("the file's sink dropped %d findings", file.DroppedFindings)
		}
		if file.Written == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d written to the file", file.Written, want)
		}
	}
}

func countLines(t *testing.T, path string) (n int) {
	t.Helper()
	paths, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		file, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(file); s.Scan(); n++ {
			if !strings.HasSuffix(s.Text(), "}") {
				t.Fatalf("half a line: %q", s.Text())
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}
