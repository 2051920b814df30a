package otlp

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tcplimbo/tcplimbo/userspace/sink"
	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp/endpoint"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// taker answers like a collector, as it is told.
type taker struct {
	collogs.UnimplementedLogsServiceServer

	mu       sync.Mutex
	requests []*collogs.ExportLogsServiceRequest
	gzipped  bool
	// The next answer: an HTTP status or a gRPC code, and how many records are
	// refused although the rest is taken.
	status  int
	code    codes.Code
	refused int64
	// busy are answers of a collector that asks to be left alone so long; asked is
	// when each request came.
	busy  []time.Duration
	asked []time.Time
}

// isBusy takes note of a request, and returns what to ask for, if anything.
func (k *taker) isBusy() (after time.Duration, busy bool) {
	k.asked = append(k.asked, time.Now())
	if len(k.busy) == 0 {
		return 0, false
	}
	after, k.busy = k.busy[0], k.busy[1:]
	return after, true
}

func (k *taker) take(r *collogs.ExportLogsServiceRequest) *collogs.ExportLogsServiceResponse {
	k.requests = append(k.requests, r)
	answer := new(collogs.ExportLogsServiceResponse)
	if k.refused > 0 {
		answer.PartialSuccess = &collogs.ExportLogsPartialSuccess{RejectedLogRecords: k.refused, ErrorMessage: "too\nold"}
	}
	return answer
}

func (k *taker) Export(_ context.Context, r *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if after, busy := k.isBusy(); busy {
		s, err := status.New(codes.Unavailable, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
		return nil, errors.Join(err, s.Err())
	}
	if k.code != codes.OK {
		return nil, status.Error(k.code, "no\x1b[31m")
	}
	return k.take(r), nil
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if after, busy := k.isBusy(); busy {
		w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
		http.Error(w, "busy", http.StatusTooManyRequests)
		return
	}
	if k.status != 0 {
		http.Error(w, "no\x1b[31m", k.status)
		return
	}
	body := io.Reader(r.Body)
	if k.gzipped = r.Header.Get("Content-Encoding") == "gzip"; k.gzipped {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	text, err := io.ReadAll(body)
	request := new(collogs.ExportLogsServiceRequest)
	if err = errors.Join(err, proto.Unmarshal(text, request)); err != nil || r.URL.Path != "/v1/logs" {
		http.Error(w, "not what was expected", http.StatusTeapot)
		return
	}
	answer, _ := proto.Marshal(k.take(request))
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

// opened returns a writer to a taker.
func opened(t *testing.T, protocol endpoint.Protocol) (*Logs, *taker) {
	t.Helper()
	k := new(taker)
	var url string
	if protocol == endpoint.GRPC {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		collogs.RegisterLogsServiceServer(server, k)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
		url = "grpc://" + listener.Addr().String()
	} else {
		server := httptest.NewServer(k)
		t.Cleanup(server.Close)
		url = server.URL
	}
	target, err := Find(url, LogsSignal, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	agent, err := NewAgent(t.Context(), Identity{Version: "1", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := OpenLogs(t.Context(), target, agent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	return logs, k
}

func bothProtocols(t *testing.T, test func(t *testing.T, l *Logs, k *taker)) {
	for _, protocol := range []endpoint.Protocol{endpoint.GRPC, endpoint.HTTP} {
		t.Run(string(protocol), func(t *testing.T) {
			l, k := opened(t, protocol)
			test(t, l, k)
		})
	}
}

// lines are those of all samples.
func lines() (all []byte, each [][]byte) {
	e := jsonline.New(jsonline.Options{Host: "h", Node: "n"})
	for _, s := range sinktest.Findings() {
		each = append(each, e.AppendFinding(nil, &s.Finding))
	}
	for _, l := range sinktest.Losses() {
		each = append(each, e.AppendLoss(nil, &l))
	}
	longest := sinktest.Longest()
	each = append(each, e.AppendFinding(nil, &longest))
	for _, line := range each {
		all = append(all, line...)
	}
	return all, each
}

func plain(v *common.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return float64(v.IntValue)
	case *common.AnyValue_DoubleValue:
		return v.DoubleValue
	case *common.AnyValue_BoolValue:
		return v.BoolValue
	case *common.AnyValue_ArrayValue:
		var list []any
		for _, e := range v.ArrayValue.GetValues() {
			list = append(list, plain(e))
		}
		return list
	}
	return nil
}

// TestRecordsAreTheLines: whatever a line holds arrives, under the same keys.
func TestRecordsAreTheLines(t *testing.T) {
	bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
		all, each := lines()
		if n, err := l.Write(t.Context(), all); err != nil || n != len(all) {
			t.Fatalf("wrote %d of %d bytes: %v", n, len(all), err)
		}
		got := 0
		for _, resource := range k.requests[0].GetResourceLogs() {
			for _, scope := range resource.GetScopeLogs() {
				for _, r := range scope.GetLogRecords() {
					compare(t, each, r.GetTimeUnixNano(), r.GetEventName(), r.GetBody().GetStringValue(), r.GetAttributes())
					got++
				}
			}
		}
		if got != len(each) {
			t.Errorf("%d records of %d lines", got, len(each))
		}
	})
}

func compare(t *testing.T, each [][]byte, ns uint64, event, body string, attributes []*common.KeyValue) {
	t.Helper()
	got := map[string]any{
		"time": time.Unix(0, int64(ns)).UTC().Format("2006-01-02T15:04:05.000000000Z"), "event.name": event, "message": body,
	}
	for _, kv := range attributes {
		got[kv.GetKey()] = plain(kv.GetValue())
	}
	for _, line := range each {
		var want map[string]any
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		delete(want, "level")
		if want["message"] == nil {
			want["message"] = ""
		}
		if reflect.DeepEqual(got, want) {
			return
		}
	}
	t.Errorf("no line says %v", got)
}

// TestAnswers: what is tried again and what is not.
func TestAnswers(t *testing.T) {
	all, each := lines()
	for _, tt := range []struct {
		name    string
		status  int
		code    codes.Code
		refused int64
		written bool
		dropped int // of all, if written
	}{
		{"away", 503, codes.Unavailable, 0, false, 0},
		{"busy", 429, codes.ResourceExhausted, 0, false, 0},
		{"wrong token", 401, codes.Unauthenticated, 0, false, 0},
		{"wrong path", 404, codes.Unimplemented, 0, false, 0},
		{"broken", 500, codes.Internal, 0, false, 0},
		{"malformed", 400, codes.InvalidArgument, 0, true, len(each)},
		{"partly refused", 0, codes.OK, 2, true, 2},
		{"more refused than sent", 0, codes.OK, 1 << 40, true, len(each)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
				k.status, k.code, k.refused = tt.status, tt.code, tt.refused
				n, err := l.Write(t.Context(), all)
				if err == nil || (n == len(all)) != tt.written || n != 0 && n != len(all) {
					t.Fatalf("wrote %d of %d bytes: %v", n, len(all), err)
				}
				if strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("the error is not one safe line: %q", err)
				}
				rejected, _ := errors.AsType[*sink.RejectedError](err)
				if !tt.written {
					if rejected != nil {
						t.Errorf("%v counts as refused", err)
					}
				} else if rejected == nil || rejected.Records != tt.dropped {
					t.Errorf("%v refuses %+v, want %d records", err, rejected, tt.dropped)
				}
				k.status, k.code, k.refused = 0, codes.OK, 0
				if n, err := l.Write(t.Context(), all); err != nil || n != len(all) {
					t.Errorf("afterwards: %d bytes, %v", n, err)
				}
			})
		})
	}
}

// TestHints: the other protocol and missing TLS are told from what comes back.
func TestHints(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	plain := httptest.NewServer(new(taker))
	t.Cleanup(plain.Close)
	web := plain.Listener.Addr().String()
	for url, want := range map[string]string{
		"http://" + listener.Addr().String(): "write grpc://",
		"grpc://" + web:                      "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"https://" + web:                     "write http://",
		"grpcs://" + web:                     "write http://",
	} {
		target, err := Find(url, LogsSignal, env(nil))
		if err != nil {
			t.Fatal(err)
		}
		agent, err := NewAgent(t.Context(), Identity{})
		if err != nil {
			t.Fatal(err)
		}
		logs, err := OpenLogs(t.Context(), target, agent)
		if err != nil {
			t.Fatal(err)
		}
		all, _ := lines()
		// The sink tries again too: what net/http says of a server that speaks
		// first, or hangs up, depends on what it sees first.
		told := false
		var last error
		for range 50 {
			if _, last = logs.Write(t.Context(), all); last == nil {
				t.Errorf("%s: written", url)
			} else if told = strings.Contains(last.Error(), want); told {
				break
			}
		}
		if !told {
			t.Errorf("%s: %v, want %q", url, last, want)
		}
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHTTPIsCompressed(t *testing.T) {
	l, k := opened(t, endpoint.HTTP)
	all, _ := lines()
	if _, err := l.Write(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if !k.gzipped {
		t.Error("the request was not compressed")
	}
}

// TestWriteHeedsItsContext: a collector that does not answer holds nobody.
func TestWriteHeedsItsContext(t *testing.T) {
	bothProtocols(t, func(t *testing.T, l *Logs, k *taker) {
		k.mu.Lock() // it takes the request and does not answer
		defer k.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		all, _ := lines()
		if n, err := l.Write(ctx, all); n != 0 || err == nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	})
}

// TestResource: the Resource is of the workload that a record is about, and of
// the agent only what holds there too.
func TestResource(t *testing.T) {
	t.Setenv(resourceVariable, "k8s.pod.name=agent,k8s.daemonset.name=d,k8s.cluster.name=c,service.name=mine,process.pid=1")
	agent, err := NewAgent(t.Context(), Identity{Version: "1", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecords(agent.common, "1")
	for _, line := range []string{
		`{"time":"2026-01-02T03:04:05.000000006Z","level":"warn","k8s.pod.name":"web","k8s.pod.uid":"u","container.id":"abc","host.name":"h"}`,
		`{"time":"2026-01-02T03:04:05.000000006Z","level":"warn"}`,
		`{"time":"2026-01-02T03:04:05.000000006Z","level":"warn","k8s.pod.name":"web","k8s.pod.uid":"u","container.id":"abc","host.name":"h"}`,
	} {
		if err := r.add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.loggers) != 2 {
		t.Errorf("%d loggers for two workloads", len(r.loggers))
	}
	for i, want := range []string{
		"container.id=abc,host.name=h,k8s.cluster.name=c,k8s.pod.name=web,k8s.pod.uid=u,service.name=mine,service.version=1",
		"host.name=h,k8s.cluster.name=c,service.name=mine,service.version=1",
	} {
		if got := r.made[i].Resource().String(); got != want {
			t.Errorf("resource %s\nwant     %s", got, want)
		}
	}
}

// TestManyWorkloads: what is remembered of them is bounded.
func TestManyWorkloads(t *testing.T) {
	agent, err := NewAgent(t.Context(), Identity{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRecords(agent.common, "1")
	for i := range 3 * maxLoggers {
		line := `{"time":"2026-01-02T03:04:05.000000006Z","k8s.pod.name":"` + strings.Repeat("x", i%700) + `"}`
		if err := r.add([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if len(r.loggers) > maxLoggers {
			t.Fatalf("%d loggers", len(r.loggers))
		}
	}
}
