package deploytest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImage: a real containerd imports the image by its name and runs what is in it.
func TestImage(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool)
		}
	}
	found, err := filepath.Glob(filepath.Join(os.Getenv("DIST"), "tcplimbo_*.oci.tar"))
	if err != nil || os.Getenv("DIST") == "" || len(found) != 1 {
		missing(t, "an image in DIST")
	}
	ctr := startContainerd(t)
	ctr("images", "import", "--snapshotter", "native", found[0])
	names := strings.Fields(ctr("images", "ls", "-q"))
	if len(names) != 1 || !strings.HasPrefix(names[0], "ghcr.io/tcplimbo/tcplimbo:") {
		t.Fatalf("imported %q", names)
	}
	run := func(id string, args ...string) string {
		t.Helper()
		return ctr(append([]string{"run", "--rm", "--snapshotter", "native", "--privileged", "--net-host", names[0], id, "/usr/bin/tcplimbo"}, args...)...)
	}
	_, tag, _ := strings.Cut(names[0], ":")
	commit := tag[strings.LastIndexAny(tag, ".-")+1:]
	if said := run("version", "version"); !strings.Contains(said, "tcplimbo ") || commit != "dirty" && !strings.Contains(said, commit) {
		t.Errorf("an image %s says %s", tag, said)
	}
	if said := run("check", "check"); !strings.Contains(said, "ok    btf") {
		t.Errorf("check says %s", said)
	}
}

// startContainerd starts one of its own and returns its ctr.
func startContainerd(t *testing.T) func(args ...string) string {
	t.Helper()
	dir := t.TempDir()
	socket, config := filepath.Join(dir, "sock"), filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	daemon := exec.CommandContext(ctx, "containerd", "--config", config, "--log-level", "error")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = daemon.Wait()
	})
	ctr := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address", socket}, args...)...).CombinedOutput()
		return string(out), err
	}
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		out, err := ctr("version")
		if err == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("containerd does not answer: %v: %s", err, out)
		}
	}
	return func(args ...string) string {
		t.Helper()
		out, err := ctr(args...)
		if err != nil {
			t.Fatalf("ctr %q: %v: %s", args, err, out)
		}
		return out
	}
}
