// Package endpoint reads where OTLP goes: what people write as an endpoint, and
// the protocol that belongs to it.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// Allowed is the end of the sentence that says what can be given.
const Allowed = "http://HOST:PORT, https://HOST:PORT, or HOST:PORT such as 127.0.0.1:4317"

// Protocol is how OTLP is spoken, by the names of OTEL_EXPORTER_OTLP_PROTOCOL.
type Protocol string

// The protocols.
const (
	GRPC Protocol = "grpc"
	HTTP Protocol = "http/protobuf"
)

// The ports that are registered for OTLP, https://www.iana.org/assignments.
const (
	grpcPort = "4317"
)

// Endpoint is a collector's address.
type Endpoint struct {
	// Host has a port.
	Host string
	// Path is what stands before /v1/logs; "" or beginning with a slash.
	Path string
	// Plain: without TLS. Bare: no scheme was given, so Plain is a guess.
	Plain, Bare bool
	// Protocol is what the text says, "" if it leaves it open.
	Protocol Protocol
}

// schemes says what a scheme means, and which port without one.
var schemes = map[string]struct {
	plain    bool
	protocol Protocol
	port     string
}{
	"http":  {true, "", "80"},
	"https": {false, "", "443"},
	"grpc":  {true, GRPC, grpcPort},
	"grpcs": {false, GRPC, grpcPort},
}

// maxText bounds an endpoint; a DNS name has 253 bytes at most.
const maxText = 2048

// Parse reads a URL or HOST:PORT. Without a scheme a loopback address is taken
// for one without TLS, every other for one with it.
func Parse(text string) (Endpoint, error) {
	if len(text) > maxText {
		return Endpoint{}, fmt.Errorf("%d bytes are too many", len(text))
	}
	if !strings.Contains(text, "://") {
		return parseBare(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		// The parser's error repeats the text, which may hold a password.
		return Endpoint{}, errors.New("it is not a URL")
	}
	scheme, known := schemes[strings.ToLower(u.Scheme)]
	switch {
	case !known:
		return Endpoint{}, fmt.Errorf("the scheme %q is not known", readable.Safe(u.Scheme, 32))
	case u.Hostname() == "":
		return Endpoint{}, errors.New("it has no host")
	case u.User != nil:
		return Endpoint{}, errors.New("it holds a user; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
	case u.RawQuery != "" || u.Fragment != "":
		return Endpoint{}, errors.New("it has more than a path")
	}
	port := u.Port()
	if port == "" {
		port = scheme.port
	}
	e := Endpoint{
		Host: net.JoinHostPort(u.Hostname(), port), Path: strings.TrimRight(u.Path, "/"),
		Plain: scheme.plain, Protocol: scheme.protocol,
	}
	return e, checkPort(port)
}

func parseBare(text string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" || strings.ContainsAny(host, "/@?#%\\ ") {
		return Endpoint{}, errors.New("it is neither a URL nor HOST:PORT")
	}
	addr, err := netip.ParseAddr(host)
	loopback := err == nil && addr.IsLoopback() || host == "localhost"
	return Endpoint{Host: net.JoinHostPort(host, port), Plain: loopback, Bare: true}, checkPort(port)
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("its port %q is not from 1 to 65535", readable.Safe(port, 32))
	}
	return nil
}

// Speaks returns the protocol: the one that the scheme names, else asked, else
// the one of the port, else HTTP, OpenTelemetry's default.
func (e *Endpoint) Speaks(asked Protocol) Protocol {
	if e.Protocol != "" {
		return e.Protocol
	}
	if asked != "" {
		return asked
	}
	if _, port, err := net.SplitHostPort(e.Host); err == nil && port == grpcPort {
		return GRPC
	}
	return HTTP
}

// URL returns the endpoint with http or https and this path behind its own.
func (e *Endpoint) URL(path string) string {
	u := url.URL{Scheme: "https", Host: e.Host, Path: e.Path + path}
	if e.Plain {
		u.Scheme = "http"
	}
	return u.String()
}
