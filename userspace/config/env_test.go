package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMistypedEnv(t *testing.T) {
	for name, want := range map[string]string{
		"TCPLIMBO_CLOSEWAIT":   "TCPLIMBO_CLOSE_WAIT",
		"TCPLIMBO_FIN_WAIT_2":  "TCPLIMBO_FIN_WAIT2",
		"TCPLIMBO_close_wait":  "TCPLIMBO_CLOSE_WAIT",
		"tcplimbo_CLOSE_WAIT":  "TCPLIMBO_CLOSE_WAIT",
		"TCPLIMBO_METRIC_ADDR": "TCPLIMBO_METRICS_ADDR",
		"TCPLIMBO_OTLP":        "TCPLIMBO_OTLP_ENDPOINT",
		"TCPLIMBO_CONFIGS":     "TCPLIMBO_CONFIG",
		// Right ones.
		"TCPLIMBO_CLOSE_WAIT": "", "TCPLIMBO_CONFIG": "", "TCPLIMBO_YOUNG_SLOTS": "",
		// Other tools' and the tests'.
		"TCPLIMBO_E2E_BINARY": "", "TCPLIMBO_E2E_CONFINE": "", "TCPLIMBO_E2E_LEAKER": "", "TCPLIMBO_TEST_KEEPER": "",
		"TCPLIMBO_SINK_TEST_CHILD": "", "TCPLIMBO_KEEP": "", "TCPLIMBO_KERNELS": "", "TCPLIMBO_GUEST_PARTS": "",
		"TCPLIMBO_GUEST_SECONDS": "", "TCPLIMBO_DEBIAN_MIRROR": "", "TCPLIMBO_DEBIAN_SECURITY": "", "TCPLIMBO_DEBIAN_ARCHIVE": "",
		// A Service's in Kubernetes, and one's whose name begins so.
		"TCPLIMBO_SERVICE_HOST": "", "TCPLIMBO_SERVICE_PORT": "", "TCPLIMBO_PORT": "", "TCPLIMBO_PORT_9890_TCP_ADDR": "",
		"TCPLIMBO_METRICS_SERVICE_HOST": "", "TCPLIMBO_METRICS_PORT": "", "TCPLIMBO_METRICS_PORT_9890_TCP": "",
		// Nobody's.
		"TCPLIMBO": "", "TCPLIMBO_": "", "PATH": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "", "TCPLIMBO_" + strings.Repeat("CLOSE_WAIT", 1000): "",
	} {
		got := MistypedEnv([]string{name + "=1"})
		if (len(got) == 0) != (want == "") || (want != "" && got[0] != Mistyped{name, want}) {
			t.Errorf("%.40s: %+v, want %q", name, got, want)
		}
	}
}

// TestMistypedEnvIsBounded: a hostile environment makes a few lines.
func TestMistypedEnvIsBounded(t *testing.T) {
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("TCPLIMBO_CLOSE_WAIT%d=", i))
	}
	got := MistypedEnv(slices.Concat(all, []string{"TCPLIMBO_TICKS", ""}))
	if len(got) != mistypedMost {
		t.Errorf("%d", len(got))
	}
}
