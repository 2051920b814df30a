package otlp

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp/endpoint"
)

func env(m map[string]string) Lookup {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

func TestFind(t *testing.T) {
	type vars = map[string]string
	for _, tt := range []struct {
		name, given string
		env         vars
		logs, mets  string // URL, "" for nowhere
		protocol    endpoint.Protocol
		gzip        bool
	}{
		{"nothing", "", nil, "", "", "", false},
		{"empty variables are not set", "", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, "", "", "", false},
		{"flag", "http://a:4318", nil, "http://a:4318/v1/logs", "http://a:4318/v1/metrics", endpoint.HTTP, true},
		{"flag, grpc by port", "http://a:4317", nil, "http://a:4317", "http://a:4317", endpoint.GRPC, true},
		{
			"flag over variables", "http://a:4318",
			vars{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://b:1", "OTEL_SDK_DISABLED": "true"},
			"http://a:4318/v1/logs", "http://a:4318/v1/metrics", endpoint.HTTP, true,
		},
		{
			"variable of all signals", "",
			vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a:4318/base/", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"},
			"https://a:4318/base/v1/logs", "https://a:4318/base/v1/metrics", endpoint.HTTP, false,
		},
		{
			"variable of one signal is taken as it is", "",
			vars{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://a:4318/own"},
			"https://a:4318/own", "", endpoint.HTTP, true,
		},
		{
			"protocol", "http://a:4318",
			vars{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			"http://a:4318", "http://a:4318", endpoint.GRPC, true,
		},
		{
			"one signal only", "http://a:4318",
			vars{"OTEL_METRICS_EXPORTER": "none"},
			"http://a:4318/v1/logs", "", endpoint.HTTP, true,
		},
		{"disabled", "", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_SDK_DISABLED": "TRUE"}, "", "", "", false},
		{
			"bare and insecure", "a:4317",
			vars{"OTEL_EXPORTER_OTLP_INSECURE": "true"},
			"http://a:4317", "http://a:4317", endpoint.GRPC, true,
		},
		{
			"loopback and secure", "127.0.0.1:4317",
			vars{"OTEL_EXPORTER_OTLP_INSECURE": "false"},
			"https://127.0.0.1:4317", "https://127.0.0.1:4317", endpoint.GRPC, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for signal, want := range map[Signal]string{LogsSignal: tt.logs, MetricsSignal: tt.mets} {
				got, err := Find(tt.given, signal, env(tt.env))
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					if got != nil {
						t.Errorf("%s go to %s", signal, got.URL)
					}
					continue
				}
				if got == nil || got.URL != want || got.Protocol != tt.protocol || got.gzip != tt.gzip {
					t.Errorf("%s: %+v, want %s by %s, gzip %v", signal, got, want, tt.protocol, tt.gzip)
				}
			}
		})
	}
}

func TestFindRefuses(t *testing.T) {
	for _, tt := range []struct {
		given string
		env   map[string]string
		want  string
	}{
		{"nonsense", nil, "--otlp-endpoint: it is neither a URL nor HOST:PORT; allowed: "},
		{"", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://x"}, "OTEL_EXPORTER_OTLP_ENDPOINT: the scheme"},
		{"", map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: it is neither"},
		{"http://a:1", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, `OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is not known`},
	} {
		if _, err := Find(tt.given, LogsSignal, env(tt.env)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "500": 500 * time.Millisecond, "99": 0, "1s": 0, "-1": 0, "999999999999": 0} {
		got, err := Interval(env(map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": text}))
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}
