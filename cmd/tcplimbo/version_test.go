package main

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestBuildInfo(t *testing.T) {
	platform := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
	stamp := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "abc"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	tests := []struct {
		name, version, commit string
		stamp                 *debug.BuildInfo
		want                  string
	}{
		{"ldflags", "1.2.3", "f00", stamp("v9", revision, modified), "tcplimbo 1.2.3 (commit f00, " + platform + ")"},
		{"toolchain", "", "", stamp("v0.1.0", revision), "tcplimbo v0.1.0 (commit abc, " + platform + ")"},
		{"modified tree", "", "", stamp("(devel)", revision, modified), "tcplimbo (devel) (commit abc, modified, " + platform + ")"},
		{"version by ldflags alone", "1.2.3", "", stamp("v9", revision), "tcplimbo 1.2.3 (commit abc, " + platform + ")"},
		{"nothing", "", "", stamp(""), "tcplimbo (devel) (" + platform + ")"},
	}
	for _, tt := range tests {
		if got := buildFrom(tt.version, tt.commit, tt.stamp).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestVersionForms(t *testing.T) {
	w := newTestWorld(t)
	if code := w.run(t, "version", "-o", "json"); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.errs.String())
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(oneLine(t, w.out.String())), &got); err != nil {
		t.Fatal(err)
	}
	if got["version"] == "" || got["go"] != runtime.Version() || got["platform"] != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("got %v", got)
	}
	command, flag := newTestWorld(t), newTestWorld(t)
	if code := command.run(t, "version") + flag.run(t, "--version"); code != 0 {
		t.Fatalf("exit codes %d in sum", code)
	}
	if command.out.String() != flag.out.String() || !strings.HasPrefix(flag.out.String(), "tcplimbo ") {
		t.Errorf("version says %q, --version %q", command.out.String(), flag.out.String())
	}
}
