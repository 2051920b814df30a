package names

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

// The labels by which the kubelet tells the runtime whose a container is
// (k8s.io/kubernetes, pkg/kubelet/types/labels.go).
const (
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPod       = "io.kubernetes.pod.name"
	labelPodUID    = "io.kubernetes.pod.uid"
	labelContainer = "io.kubernetes.container.name"
)

const (
	// answerMax bounds an answer; crictl and the kubelet take as much.
	answerMax = 16 << 20
	// idleAfter: a connection that nobody uses costs memory and two goroutines.
	idleAfter = time.Minute
)

// criRuntime is containerd or CRI-O: a runtime that is asked by the interface that the
// kubelet uses.
type criRuntime struct {
	socket string
	// usual: it is one of the usual places, and need not be there.
	usual  bool
	conn   *grpc.ClientConn
	client runtime.RuntimeServiceClient
}

// newCRI returns the runtime that listens at a socket, usual if nobody chose it.
func newCRI(socket string, usual bool) *criRuntime { return &criRuntime{socket: socket, usual: usual} }

// connect prepares the connection when it is needed first; false if there is no
// runtime to be asked.
func (c *criRuntime) connect() (bool, error) {
	if c.usual && !isThere(c.socket) {
		return false, nil
	}
	if c.client != nil {
		return true, nil
	}
	conn, err := grpc.NewClient("unix://"+c.socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(idleAfter),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMax)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 2, MaxDelay: 30 * time.Second},
			MinConnectTimeout: callLimit,
		}))
	if err != nil {
		return false, fmt.Errorf("connecting to %s: %w", c.socket, err)
	}
	c.conn, c.client = conn, runtime.NewRuntimeServiceClient(conn)
	return true, nil
}

// Close ends the connection.
func (c *criRuntime) Close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Name implements Source.
func (c *criRuntime) Name() string { return c.socket }

// answered makes one line of what grpc says went wrong. A containerd that serves
// only Docker has no CRI; that is no fault.
func (c *criRuntime) answered(doing string, err error) error {
	if err == nil || (c.usual && status.Code(err) == codes.Unimplemented) {
		return nil
	}
	return fmt.Errorf("%s: %s", doing, status.Convert(err).Message())
}

// All implements Source.
func (c *criRuntime) All(ctx context.Context) ([]Container, error) {
	if there, err := c.connect(); !there {
		return nil, err
	}
	pods, err := c.pods(ctx, nil)
	if err != nil {
		return nil, err
	}
	list, err := c.client.ListContainers(ctx, &runtime.ListContainersRequest{})
	if err := c.answered("listing containers", err); err != nil {
		return nil, err
	}
	all := make([]Container, 0, len(list.GetContainers())+len(pods))
	for _, listed := range list.GetContainers() {
		all = append(all, container(listed, pods[listed.GetPodSandboxId()]))
	}
	return all, nil
}

// Find implements Source.
func (c *criRuntime) Find(ctx context.Context, at origin.Place) (Container, bool, error) {
	if there, err := c.connect(); !there {
		return Container{}, false, err
	}
	if at.ContainerID == "" {
		return c.findPod(ctx, at.PodUID)
	}
	list, err := c.client.ListContainers(ctx, &runtime.ListContainersRequest{
		Filter: &runtime.ContainerFilter{Id: at.ContainerID},
	})
	if err := c.answered("asking for a container", err); err != nil {
		return Container{}, false, err
	}
	for _, listed := range list.GetContainers() {
		if listed.GetId() != at.ContainerID {
			continue // some runtimes take an id for a prefix
		}
		pods, err := c.pods(ctx, &runtime.PodSandboxFilter{Id: listed.GetPodSandboxId()})
		if err != nil {
			return Container{}, false, err
		}
		return container(listed, pods[listed.GetPodSandboxId()]), true, nil
	}
	if at.PodUID == "" {
		return Container{}, false, nil
	}
	// The sandbox is a container too, and so is one inside of a pod's container.
	return c.findPod(ctx, at.PodUID)
}

func (c *criRuntime) findPod(ctx context.Context, uid string) (Container, bool, error) {
	pods, err := c.pods(ctx, &runtime.PodSandboxFilter{LabelSelector: map[string]string{labelPodUID: uid}})
	if err != nil {
		return Container{}, false, err
	}
	for _, pod := range pods {
		return container(&runtime.Container{}, pod), true, nil
	}
	return Container{}, false, nil
}

func (c *criRuntime) pods(ctx context.Context, filter *runtime.PodSandboxFilter) (map[string]*runtime.PodSandbox, error) {
	list, err := c.client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: filter})
	if err := c.answered("listing pods", err); err != nil {
		return nil, err
	}
	pods := make(map[string]*runtime.PodSandbox, len(list.GetItems()))
	for _, pod := range list.GetItems() {
		pods[pod.GetId()] = pod
	}
	return pods, nil
}

// container joins what the runtime says of a container and of its pod, which may
// be nil: then the labels that the kubelet gave the container tell.
func container(listed *runtime.Container, pod *runtime.PodSandbox) Container {
	labels, meta := listed.GetLabels(), pod.GetMetadata()
	return limited(Container{
		ID:        listed.GetId(),
		Name:      first(listed.GetMetadata().GetName(), labels[labelContainer]),
		Namespace: first(meta.GetNamespace(), labels[labelNamespace]),
		Pod:       first(meta.GetName(), labels[labelPod]),
		PodUID:    first(meta.GetUid(), labels[labelPodUID]),
		Labels:    pod.GetLabels(),
	})
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
