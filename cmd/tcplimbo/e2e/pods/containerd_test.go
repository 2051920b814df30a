package pods

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// node is a containerd of the test's own and what plays the kubelet on it.
type node struct {
	t      *testing.T
	dir    string
	socket string
	bridge string
	logs   string
	// cgroups is the root of all pods' cgroups.
	cgroups string
	daemon  *exec.Cmd
	conn    *grpc.ClientConn
	client  runtime.RuntimeServiceClient
	pods    []string
}

const config = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[2]s"
[ttrpc]
  address = "%[2]s.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[4]s"
    conf_dir = "%[1]s/cni"
`

const network = `{"cniVersion":"0.4.0","name":"tcplimbo","plugins":[
{"type":"bridge","bridge":"%s","isGateway":false,"ipMasq":false,
 "ipam":{"type":"host-local","dataDir":"%s/ipam","ranges":[[{"subnet":"10.213.77.0/24"}]]}}]}`

// startNode starts containerd with nothing in it but the image.
func startNode(t *testing.T) *node {
	t.Helper()
	needContainerd(t)
	// Paths of sockets are short (unix(7)), t.TempDir's are not.
	dir, err := os.MkdirTemp("/run", "tcplimbo-")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, dir: dir, socket: dir + "/c.sock", logs: dir + "/logs",
		cgroups: "/" + filepath.Base(dir),
		bridge:  fmt.Sprintf("limbo%d", os.Getpid()%1e6),
	}
	t.Cleanup(n.cleanUp)
	for file, text := range map[string]string{
		"config.toml":          fmt.Sprintf(config, dir, n.socket, imageName, cniPlugins),
		"cni/10-pods.conflist": fmt.Sprintf(network, n.bridge, dir),
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n.conn, err = grpc.NewClient("unix://"+n.socket, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	n.client = runtime.NewRuntimeServiceClient(n.conn)
	n.start()
	n.importImage()
	return n
}

// start starts the daemon and waits until pods can have networks.
func (n *node) start() {
	n.t.Helper()
	n.daemon = exec.Command("containerd", "--config", n.dir+"/config.toml", "--log-level", "warn")
	out, err := os.OpenFile(n.dir+"/containerd.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	n.daemon.Stdout, n.daemon.Stderr = out, out
	if err := n.daemon.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.until("containerd is ready", func(ctx context.Context) error {
		status, err := n.client.Status(ctx, &runtime.StatusRequest{})
		if err != nil {
			return err
		}
		for _, c := range status.GetStatus().GetConditions() {
			if !c.GetStatus() {
				return fmt.Errorf("%s: %s", c.GetType(), c.GetMessage())
			}
		}
		return nil
	})
}

func (n *node) stop() {
	if n.daemon == nil {
		return
	}
	_ = n.daemon.Process.Signal(syscall.SIGTERM)
	_ = n.daemon.Wait()
	n.daemon = nil
}

func (n *node) importImage() {
	n.t.Helper()
	image := n.dir + "/image.tar"
	writeImage(n.t, image)
	ctr := exec.Command("ctr", "--address", n.socket, "--namespace", "k8s.io", "images", "import", image)
	if out, err := ctr.CombinedOutput(); err != nil {
		n.t.Fatalf("importing the image: %v\n%s", err, out)
	}
	images := runtime.NewImageServiceClient(n.conn)
	n.until("the image is there", func(ctx context.Context) error {
		status, err := images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: imageName}})
		if err == nil && status.GetImage() == nil {
			return fmt.Errorf("no image %s", imageName)
		}
		return err
	})
}

// patience is for a loaded machine.
const patience = 60 * time.Second

// until waits for what must come true.
func (n *node) until(what string, is func(ctx context.Context) error) {
	n.t.Helper()
	// Not the test's own context: cleaning up waits too.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := is(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(n.dir + "/containerd.log")
			n.t.Fatalf("waiting until %s: %v\n%s", what, err, tail(string(log), 20))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// cleanUp ends and removes all there is, also after a failure.
func (n *node) cleanUp() {
	if n.t.Failed() && n.daemon != nil {
		log, _ := os.ReadFile(n.dir + "/containerd.log")
		n.t.Logf("containerd says:\n%s", tail(string(log), 20))
	}
	if n.client != nil && len(n.pods) > 0 {
		if n.daemon == nil {
			n.start()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, pod := range n.pods {
			if _, err := n.client.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
				n.t.Errorf("stopping a pod: %v", err)
			}
			if _, err := n.client.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
				n.t.Errorf("removing a pod: %v", err)
			}
		}
	}
	if n.conn != nil {
		_ = n.conn.Close()
	}
	n.stop()
	n.removeCgroups()
	if link, err := netlink.LinkByName(n.bridge); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			n.t.Errorf("removing the bridge: %v", err)
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Errorf("removing containerd's files: %v", err)
	}
}

// removeCgroups removes the cgroups of the pods and those above them, which the
// kubelet would.
func (n *node) removeCgroups() {
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + n.cgroups)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, top := range append(tops, "/sys/fs/cgroup"+n.cgroups) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil {
				n.t.Errorf("removing a cgroup: %v", err)
			}
		}
	}
}
