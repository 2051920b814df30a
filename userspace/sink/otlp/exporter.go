package otlp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp/endpoint"
)

// The exporters read headers, certificates, time-outs and compression from the
// standard variables themselves. Their own retries are turned off: the sink's
// queue keeps records for as long as it has room, theirs for a minute, and
// meanwhile nobody would be told.

// reconnect keeps trying a collector that was away; gRPC's default lets two
// minutes pass between two attempts.
func reconnect() grpc.DialOption {
	const most, connect = 5 * time.Second, 10 * time.Second
	b := backoff.DefaultConfig
	b.MaxDelay = most
	return grpc.WithConnectParams(grpc.ConnectParams{Backoff: b, MinConnectTimeout: connect})
}

func newLogExporter(ctx context.Context, t *Target) (sdklog.Exporter, error) {
	if t.Protocol == endpoint.GRPC {
		opts := []otlploggrpc.Option{
			otlploggrpc.WithEndpointURL(t.URL), otlploggrpc.WithRetry(otlploggrpc.RetryConfig{}), otlploggrpc.WithDialOption(reconnect()),
		}
		if t.gzip {
			opts = append(opts, otlploggrpc.WithCompressor("gzip"))
		}
		return otlploggrpc.New(ctx, opts...)
	}
	opts := []otlploghttp.Option{otlploghttp.WithEndpointURL(t.URL), otlploghttp.WithRetry(otlploghttp.RetryConfig{})}
	if t.gzip {
		opts = append(opts, otlploghttp.WithCompression(otlploghttp.GzipCompression))
	}
	return otlploghttp.New(ctx, opts...)
}

func newMetricExporter(ctx context.Context, t *Target) (metric.Exporter, error) {
	if t.Protocol == endpoint.GRPC {
		opts := []otlpmetricgrpc.Option{
			otlpmetricgrpc.WithEndpointURL(t.URL), otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{}),
			otlpmetricgrpc.WithDialOption(reconnect()),
		}
		if t.gzip {
			opts = append(opts, otlpmetricgrpc.WithCompressor("gzip"))
		}
		return otlpmetricgrpc.New(ctx, opts...)
	}
	opts := []otlpmetrichttp.Option{otlpmetrichttp.WithEndpointURL(t.URL), otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{})}
	if t.gzip {
		opts = append(opts, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	}
	return otlpmetrichttp.New(ctx, opts...)
}
