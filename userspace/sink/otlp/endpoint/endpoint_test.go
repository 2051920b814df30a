package endpoint

import (
	"net"
	"net/url"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text, url string
		asked     Protocol
		speaks    Protocol
	}{
		{"http://collector:4318", "http://collector:4318/x", "", HTTP},
		{"http://collector:4317", "http://collector:4317/x", "", GRPC},
		{"http://collector:4317", "http://collector:4317/x", HTTP, HTTP},
		{"https://collector:4318", "https://collector:4318/x", GRPC, GRPC},
		{"https://otlp.example.com", "https://otlp.example.com:443/x", "", HTTP},
		{"https://otlp.example.com/base/", "https://otlp.example.com:443/base/x", "", HTTP},
		{"HTTP://[::1]:4318", "http://[::1]:4318/x", "", HTTP},
		{"grpc://collector", "http://collector:4317/x", HTTP, GRPC},
		{"grpcs://collector:443", "https://collector:443/x", "", GRPC},
		{"localhost:4317", "http://localhost:4317/x", "", GRPC},
		{"127.0.0.1:4318", "http://127.0.0.1:4318/x", "", HTTP},
		{"[::1]:9999", "http://[::1]:9999/x", "", HTTP},
		{"collector.monitoring:4317", "https://collector.monitoring:4317/x", "", GRPC},
	} {
		e, err := Parse(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if got := e.URL("/x"); got != tt.url {
			t.Errorf("%q is %q, want %q", tt.text, got, tt.url)
		}
		if got := e.Speaks(tt.asked); got != tt.speaks {
			t.Errorf("%q speaks %q, want %q", tt.text, got, tt.speaks)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "neither a URL nor HOST:PORT",
		"collector":                    "neither a URL nor HOST:PORT",
		"a/b:4317":                     "neither a URL nor HOST:PORT",
		"user@host:4317":               "neither a URL nor HOST:PORT",
		":4317":                        "neither a URL nor HOST:PORT",
		"ftp://collector:4317":         `scheme "ftp" is not known`,
		"http://":                      "no host",
		"http://:4317":                 "no host",
		"http://user:secret@host:4318": "holds a user",
		"http://host:4318/?a=b":        "more than a path",
		"http://host:0":                "not from 1 to 65535",
		"host:65536":                   "not from 1 to 65535",
		"host:https":                   "not from 1 to 65535",
		"http://host:\x00":             "not a URL",
		strings.Repeat("a", 3000):      "3000 bytes are too many",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"http://a:1/b", "[::1]:4317", "grpcs://h", "https://%41:1", "a:1", "http://[fe80::1%25eth0]:4318"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			if s := err.Error(); strings.ContainsAny(s, "\n\r\x1b") || len(s) > 200 {
				t.Errorf("not one clean line: %q", s)
			}
			return
		}
		if _, _, err := net.SplitHostPort(e.Host); err != nil {
			t.Errorf("%q: host %q: %v", text, e.Host, err)
		}
		u, err := url.Parse(e.URL("/v1/logs"))
		if err != nil || u.Host == "" || u.User != nil {
			t.Errorf("%q became %q: %v", text, e.URL("/v1/logs"), err)
		}
	})
}
