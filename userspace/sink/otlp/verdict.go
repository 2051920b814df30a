package otlp

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/sink"
)

// judge returns what sink.Writer's Write returns for a request that ended with
// an error. All is tried again but what the collector refused because of what
// it holds: a wrong token or path is put right by people, and the findings can
// wait for it.
func (t *Target) judge(err error, p []byte) (int, error) {
	said := t.explain(err)
	n := bytes.Count(p, []byte{'\n'})
	if partly, refused := partialSuccess(err); partly {
		return len(p), &sink.RejectedError{Records: min(refused, n), Err: said}
	}
	if malformed(err) {
		return len(p), &sink.RejectedError{Records: n, Err: said}
	}
	if after := retryAfter(err); after > 0 {
		return 0, &sink.BusyError{After: after, Err: said}
	}
	return 0, said
}

// The exporters' errors for answers have no exported type; tests with real
// servers hold these forms.
var (
	partialForm = regexp.MustCompile(`OTLP partial success: .*\((\d+) \w+ rejected\)`)
	statusForm  = regexp.MustCompile(`^failed to send \w+ to \S+: (\d{3}) `)
)

// partialSuccess reports whether a collector took a request, and how many of its
// records it refused nevertheless.
func partialSuccess(err error) (partly bool, refused int) {
	m := partialForm.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return false, 0
	}
	refused, _ = strconv.Atoi(m[1]) // digits; too many of them give the largest int
	return true, max(refused, 0)
}

// malformed reports whether the request itself was refused, so that the same
// one will be refused again.
func malformed(err error) bool {
	if s, ok := status.FromError(err); ok {
		return s.Code() == codes.InvalidArgument
	}
	if strings.Contains(err.Error(), "too large: exceeded") {
		return true
	}
	m := statusForm.FindStringSubmatch(err.Error())
	return m != nil && (m[1] == "400" || m[1] == "413" || m[1] == "422")
}

// maxError bounds what a collector's answer can add to a diagnostic line.
const maxError = 300

// explain makes an exporter's error, which may cite the collector, one safe line.
func (t *Target) explain(err error) error {
	text := readable.Safe(err.Error(), maxError)
	for _, h := range hints {
		if strings.Contains(text, h.symptom) {
			text += "; " + h.remedy
			break
		}
	}
	return &sendError{text: fmt.Sprintf("sending to %s: %s", t.URL, text), err: err}
}

const grpcRemedy = "where the endpoint speaks gRPC, write grpc:// or set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"

// hints are what to do about mistakes that are easily made.
var hints = []struct{ symptom, remedy string }{
	{"first record does not look like a TLS handshake", "write http:// or grpc:// before an endpoint without TLS"},
	{"server gave HTTP response to HTTPS client", "write http:// before an endpoint without TLS"},
	{"malformed HTTP response", grpcRemedy},
	{"readLoopPeekFail", grpcRemedy}, // net/http's, where the server spoke first
	{"looked like an HTTP/1.1 header", "where the endpoint speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"},
}

type sendError struct {
	text string
	err  error
}

func (e *sendError) Error() string { return e.text }

func (e *sendError) Unwrap() error { return e.err }
