package otlp

import (
	"errors"
	"reflect"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// maxRetryAfter is the longest that is waited because a collector asks for it: one that
// asks for more is mistaken, and meanwhile the queue fills.
const maxRetryAfter = 5 * time.Minute

// retryAfter returns how long a collector asked to be left alone, by gRPC's RetryInfo or
// HTTP's Retry-After; 0 if it did not.
func retryAfter(err error) time.Duration {
	after := throttle(err)
	if s, ok := status.FromError(err); ok {
		for _, detail := range s.Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				after = info.GetRetryDelay().AsDuration()
			}
		}
	}
	return min(max(after, 0), maxRetryAfter)
}

// throttle returns what the HTTP exporter read in Retry-After. It keeps that in a field of
// an error whose type is not exported; where another version does not, the sink's own
// back-off is what is left, and a test fails.
func throttle(err error) time.Duration {
	switch many := err.(type) {
	case nil:
		return 0
	case interface{ Unwrap() []error }:
		for _, one := range many.Unwrap() {
			if d := throttle(one); d > 0 {
				return d
			}
		}
		return 0
	}
	if v := reflect.ValueOf(err); v.Kind() == reflect.Struct {
		if f := v.FieldByName("throttle"); f.IsValid() && f.Type() == reflect.TypeFor[time.Duration]() {
			return time.Duration(f.Int())
		}
	}
	return throttle(errors.Unwrap(err))
}
