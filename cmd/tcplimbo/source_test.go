package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/config"
)

// oneSpace is a kernel side that sees one network namespace.
type oneSpace struct{}

func (oneSpace) Namespaces() (int, bool) { return 1, false }

// The fallback is told in one line that can be read: why, what is lost, who tells
// the rest.
func TestFallbackIsOneReadableLine(t *testing.T) {
	for name, why := range map[string]error{
		"blocked": fmt.Errorf("loading: %w", &check.Blocked{
			Code: check.ExitNoPermission, What: "missing CAP_BPF and CAP_PERFMON, which loading BPF programs takes",
			Remedy: strings.Repeat("run as root, or set capabilities, ", 10),
		}),
		"the verifier": errors.New("loading: " + strings.Repeat("R1 type=inv\n", 1000)),
	} {
		var out strings.Builder
		log := zerolog.New(&out)
		sourceChoice{Source: config.SourceAuto}.sayPolled(&log, why, oneSpace{})
		line := out.String()
		for _, want := range []string{`"level":"warn"`, `"why":"`, `"lost":"exact ages`, `"unprivileged":"`, "`tcplimbo check` says"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %s in %s", name, want, line)
			}
		}
		if strings.Count(line, "\n") != 1 || len(line) > 600 || strings.Contains(line, "run as root") {
			t.Errorf("%s: %d bytes: %s", name, len(line), line)
		}
	}
}
