package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGoroutines: with --pprof auto an update names how many goroutines wait in
// the handler that left the connections, and where, and the profile is kept.
func TestGoroutines(t *testing.T) {
	needBPF(t)
	at := marks(t, "testdata/profiled/main.go")
	dir := filepath.Join(t.TempDir(), "profiles")
	a := startRun(t, "--stacks", "always", "--pprof", "auto", "--capture-dir", dir)
	p := startProgram(t, buildGo(t, "profiled", "-ldflags=-s -w"))
	p.do("round")
	var said *record
	if !a.wait(30*time.Second, func(all []*record) bool {
		for _, r := range p.of(all, "close_wait_silent") {
			if r.str("tcplimbo.pprof.function") == "main.handleUpload" {
				said = r
				return true
			}
		}
		return false
	}) {
		for _, r := range p.of(a.all(), "close_wait_silent") {
			t.Log(r.line)
		}
		t.Fatal("no finding tells of goroutines")
	}
	if n := said.num("tcplimbo.pprof.matching"); n != 3 {
		t.Errorf("%v goroutines in the handler, want 3: %s", n, said.line)
	}
	if parked := said.str("tcplimbo.pprof.parked"); !strings.HasPrefix(parked, "main.store (") ||
		!strings.HasSuffix(parked, fmt.Sprintf("/main.go:%d)", at["waits"])) {
		t.Errorf("parked in %q", parked)
	}
	if n := said.num("tcplimbo.pprof.goroutines"); n < 5 {
		t.Errorf("%v goroutines in all", n)
	}
	if st, err := os.Stat(filepath.Join(dir, said.str("tcplimbo.pprof.dump"))); err != nil || st.Size() == 0 || st.Mode().Perm() != 0o600 {
		t.Errorf("the profile: %v, %v", st, err)
	}
	// The agent's own request leaves nothing behind.
	for _, r := range a.all() {
		if r.finding() && r.pid() == a.cmd.Process.Pid {
			t.Errorf("the agent has a finding: %s", r.line)
		}
	}
}
