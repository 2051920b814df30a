package otlp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/tcplimbo/tcplimbo/userspace/sink/jsonline"
)

// records makes lines to log records. One goroutine may use it.
type records struct {
	common  *resource.Resource
	version string
	// loggers are by the workload's attributes: an SDK's record takes its
	// Resource from the provider it came through.
	loggers map[string]log.Logger
	fields  []jsonline.Field
	made    []sdklog.Record
}

// maxLoggers bounds the workloads that are remembered; more than a node runs.
const maxLoggers = 256

func newRecords(common *resource.Resource, version string) *records {
	return &records{common: common, version: version, loggers: map[string]log.Logger{}}
}

// add makes one line to a record in r.made.
func (r *records) add(line []byte) error {
	var err error
	if r.fields, err = jsonline.Decode(r.fields[:0], line); err != nil {
		return err
	}
	var rec log.Record
	var workload []attribute.KeyValue
	for _, f := range r.fields {
		if setField(&rec, f) {
			continue
		}
		kv := keyValue(f)
		rec.AddAttributes(kv)
		if slices.Contains(workloadKeys, f.Key) {
			workload = append(workload, kv)
		}
	}
	// The record is made where the event was seen.
	rec.SetObservedTimestamp(rec.Timestamp())
	r.logger(workload).Emit(context.Background(), rec)
	return nil
}

// setField puts what OTLP has a field for there.
func setField(rec *log.Record, f jsonline.Field) bool {
	text, _ := f.Value.(string)
	switch f.Key {
	case "time":
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return false
		}
		rec.SetTimestamp(t)
	case "level":
		rec.SetSeverityText(text)
		rec.SetSeverity(severities[text])
	case "message":
		rec.SetBody(attribute.StringValue(text))
	case "event.name":
		rec.SetEventName(text)
	default:
		return false
	}
	return true
}

var severities = map[string]log.Severity{"info": log.SeverityInfo, "warn": log.SeverityWarn}

func keyValue(f jsonline.Field) attribute.KeyValue {
	key := attribute.Key(f.Key)
	switch v := f.Value.(type) {
	case int64:
		return key.Int64(v)
	case float64:
		return key.Float64(v)
	case bool:
		return key.Bool(v)
	case []string:
		return key.StringSlice(v)
	case string:
		return key.String(v)
	}
	return key.String(fmt.Sprint(f.Value))
}

// logger returns one whose records are about this workload.
func (r *records) logger(workload []attribute.KeyValue) log.Logger {
	var name strings.Builder
	for _, kv := range workload {
		name.WriteString(string(kv.Key) + "=" + kv.Value.String() + "\n")
	}
	if l, ok := r.loggers[name.String()]; ok {
		return l
	}
	if len(r.loggers) >= maxLoggers {
		clear(r.loggers)
	}
	merged, err := resource.Merge(r.common, resource.NewSchemaless(workload...))
	if err != nil { // cannot be: neither has a schema
		merged = r.common
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(merged), sdklog.WithProcessor((*collect)(r)))
	l := provider.Logger("github.com/tcplimbo/tcplimbo", log.WithInstrumentationVersion(r.version))
	r.loggers[name.String()] = l
	return l
}

// collect takes the SDK's records as they come out of a provider.
type collect records

var _ sdklog.Processor = (*collect)(nil)

// Enabled implements sdklog.Processor.
func (c *collect) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor.
func (c *collect) OnEmit(_ context.Context, rec *sdklog.Record) error {
	c.made = append(c.made, rec.Clone())
	return nil
}

// Shutdown implements sdklog.Processor.
func (c *collect) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdklog.Processor.
func (c *collect) ForceFlush(context.Context) error { return nil }
