package otlp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp/endpoint"
)

// Signal is one of the two kinds of data that are sent.
type Signal string

// The signals, as they stand in the names of OTEL variables and in paths.
const (
	LogsSignal    Signal = "logs"
	MetricsSignal Signal = "metrics"
)

// Target is where one signal goes.
type Target struct {
	Protocol endpoint.Protocol
	// URL begins with http or https and has, for HTTP, the signal's path.
	URL string
	// gzip is set where no variable says how to compress.
	gzip bool
}

// Lookup is os.LookupEnv or a test's.
type Lookup func(string) (string, bool)

// variable returns a variable's value; an empty one counts as not set, as
// OpenTelemetry's specification has it.
func (l Lookup) variable(name string) string {
	value, _ := l(name)
	return strings.TrimSpace(value)
}

// either returns the signal's own variable or the one of all signals, and its name.
func (l Lookup) either(signal Signal, suffix string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_" + strings.ToUpper(string(signal)) + "_" + suffix
	if value = l.variable(name); value != "" {
		return name, value
	}
	name = "OTEL_EXPORTER_OTLP_" + suffix
	return name, l.variable(name)
}

// Find returns where a signal goes, nil for nowhere: to what --otlp-endpoint
// gave, else to what the standard variables name. Its errors say which of them
// is wrong.
func Find(given string, signal Signal, env Lookup) (*Target, error) {
	if exporters := env.variable("OTEL_" + strings.ToUpper(string(signal)) + "_EXPORTER"); exporters != "" &&
		!strings.Contains(exporters, "otlp") {
		return nil, nil
	}
	name, path := "--otlp-endpoint", "/v1/"+string(signal)
	if given == "" {
		if strings.EqualFold(env.variable("OTEL_SDK_DISABLED"), "true") {
			return nil, nil
		}
		name, given = env.either(signal, "ENDPOINT")
		if given == "" {
			return nil, nil
		}
		if name != "OTEL_EXPORTER_OTLP_ENDPOINT" {
			path = "" // the signal's own endpoint is taken as it is
		}
	}
	e, err := endpoint.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; allowed: %s", name, err, endpoint.Allowed)
	}
	return target(e, path, signal, env)
}

func target(e endpoint.Endpoint, path string, signal Signal, env Lookup) (*Target, error) {
	name, asked := env.either(signal, "PROTOCOL")
	switch endpoint.Protocol(asked) {
	case endpoint.GRPC, endpoint.HTTP, "":
	default:
		return nil, fmt.Errorf("environment variable %s: %q is not known; allowed: %s, %s", name, asked, endpoint.GRPC, endpoint.HTTP)
	}
	if e.Bare {
		if _, insecure := env.either(signal, "INSECURE"); insecure != "" {
			e.Plain = strings.EqualFold(insecure, "true")
		}
	}
	t := &Target{Protocol: e.Speaks(endpoint.Protocol(asked))}
	if t.Protocol == endpoint.GRPC {
		path = ""
	}
	t.URL = e.URL(path)
	_, compression := env.either(signal, "COMPRESSION")
	t.gzip = compression == ""
	return t, nil
}

// defaultInterval is the specification's, of OTEL_METRIC_EXPORT_INTERVAL.
const defaultInterval = time.Minute

// Interval returns how often metrics are sent.
func Interval(env Lookup) (time.Duration, error) {
	const name, most = "OTEL_METRIC_EXPORT_INTERVAL", 24 * 60 * 60 * 1000
	text := env.variable(name)
	if text == "" {
		return defaultInterval, nil
	}
	ms, err := strconv.ParseUint(text, 10, 32)
	if err != nil || ms < 100 || ms > most {
		return 0, fmt.Errorf("environment variable %s: %q does not fit; allowed: 100 to %d milliseconds", name, text, most)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
