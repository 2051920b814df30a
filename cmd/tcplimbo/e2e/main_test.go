package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tcplimbo/tcplimbo/cmd/limboload/workload"
)

// binary is the tcplimbo that is tested: built once, or what binaryEnv names where
// there is no Go (the guests of make test-kernels).
var binary string

const binaryEnv = "TCPLIMBO_E2E_BINARY"

func TestMain(m *testing.M) {
	workload.RunChild()
	runConfined()
	runLeaker()
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "tcplimbo-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	// Others than root must be able to start it, to be refused.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	if binary = os.Getenv(binaryEnv); binary == "" {
		binary = filepath.Join(dir, "tcplimbo")
		if err := build(binary); err != nil {
			return 1, err
		}
	}
	if _, err := workload.RaiseFileLimit(1 << 16); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build builds the tcplimbo that is tested.
func build(binary string) error {
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "github.com/tcplimbo/tcplimbo/cmd/tcplimbo").CombinedOutput(); err != nil {
		return fmt.Errorf("building tcplimbo: %w\n%s", err, out)
	}
	return nil
}

// together are the names of the tests that called sideBySide.
var together sync.Map

// sideBySide lets a test run beside the others that call it, once all others are done.
// It is for tests that mostly wait, make few sockets, and neither measure how soon a line
// comes nor ask with [scene.audit] whether anything else was said about this process:
// their sockets are all its own. How soon their agents end is not judged.
func sideBySide(t *testing.T) {
	together.Store(t.Name(), true)
	t.Parallel()
}

// needBPF skips without root, and fails instead where the environment says
// that everything must run.
func needBPF(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatal("loading BPF programs needs root, and REQUIRE_BPF=1 forbids to skip")
	}
	t.Skip("loading BPF programs needs root")
}
