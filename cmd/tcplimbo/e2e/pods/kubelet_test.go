package pods

import (
	"crypto/rand"
	"fmt"
	"os"
	"path"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pod is what the kubelet is told of a pod with one container.
type pod struct {
	namespace, name, uid, container string
	// id is the container's.
	id      string
	args    []string
	hostPID bool
	linux   *runtime.LinuxContainerSecurityContext
	mounts  []*runtime.Mount
	logs    string
}

// newUID makes a UUID of version 4.
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// run starts a pod as the kubelet does: the same labels, log files and cgroups.
func (n *node) run(p *pod) {
	n.t.Helper()
	p.uid = newUID()
	p.logs = path.Join(n.logs, p.namespace+"_"+p.name+"_"+p.uid)
	if err := os.MkdirAll(path.Join(p.logs, p.container), 0o755); err != nil {
		n.t.Fatal(err)
	}
	namespaces := &runtime.NamespaceOption{Pid: runtime.NamespaceMode_CONTAINER}
	if p.hostPID {
		namespaces.Pid = runtime.NamespaceMode_NODE
	}
	labels := map[string]string{
		"io.kubernetes.pod.namespace": p.namespace, "io.kubernetes.pod.name": p.name, "io.kubernetes.pod.uid": p.uid,
		"app": p.name,
	}
	sandbox := &runtime.PodSandboxConfig{
		Metadata:     &runtime.PodSandboxMetadata{Name: p.name, Namespace: p.namespace, Uid: p.uid},
		Labels:       labels,
		LogDirectory: p.logs,
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent:    n.cgroups + "/kubepods/burstable/pod" + p.uid,
			SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: namespaces},
		},
	}
	ctx := n.t.Context()
	made, err := n.client.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		n.t.Fatalf("running pod %s: %v", p.name, err)
	}
	n.pods = append(n.pods, made.GetPodSandboxId())
	security := p.linux
	if security == nil {
		security = &runtime.LinuxContainerSecurityContext{}
	}
	security.NamespaceOptions = namespaces
	created, err := n.client.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: made.GetPodSandboxId(), SandboxConfig: sandbox,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: p.container},
			Image:    &runtime.ImageSpec{Image: imageName},
			Command:  p.args, Mounts: p.mounts, LogPath: path.Join(p.container, "0.log"),
			Labels: map[string]string{
				"io.kubernetes.pod.namespace": p.namespace, "io.kubernetes.pod.name": p.name, "io.kubernetes.pod.uid": p.uid,
				"io.kubernetes.container.name": p.container,
			},
			Linux: &runtime.LinuxContainerConfig{SecurityContext: security},
		},
	})
	if err != nil {
		n.t.Fatalf("creating container %s: %v", p.container, err)
	}
	p.id = created.GetContainerId()
	if _, err := n.client.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: p.id}); err != nil {
		n.t.Fatalf("starting container %s: %v", p.container, err)
	}
}
