package pods

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// tcplimbo and leakypod are the programs under test, static so that an image needs
// nothing else, and built once.
var tcplimbo, leakypod string

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "pods: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "tcplimbo-pods-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	const module = "github.com/tcplimbo/tcplimbo/cmd/tcplimbo"
	tcplimbo, leakypod = filepath.Join(dir, "tcplimbo"), filepath.Join(dir, "leakypod")
	for to, pkg := range map[string]string{tcplimbo: module, leakypod: module + "/e2e/pods/leakypod"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", to, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	return m.Run(), nil
}

// cniPlugins is where Debian has them.
const cniPlugins = "/usr/lib/cni"

// needContainerd skips without root, containerd, runc or CNI plugins, and fails
// instead where the environment says that everything must run.
func needContainerd(t *testing.T) {
	t.Helper()
	missing := ""
	switch {
	case os.Geteuid() != 0:
		missing = "root"
	case !installed("containerd"), !installed("ctr"):
		missing = "containerd"
	case !installed("runc"):
		missing = "runc"
	default:
		if _, err := os.Stat(cniPlugins + "/bridge"); err != nil {
			missing = "containernetworking-plugins"
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("REQUIRE_BPF") == "1" {
		t.Fatalf("running pods needs %s, and REQUIRE_BPF=1 forbids to skip", missing)
	}
	t.Skipf("running pods needs %s", missing)
}

func installed(command string) bool {
	_, err := exec.LookPath(command)
	return err == nil
}
