package otlp

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Identity is who sends.
type Identity struct {
	// Version is the program's, Host the host's name, Node that of its
	// Kubernetes node; the latter two may be empty.
	Version, Host, Node string
}

// Agent is who sends, as OpenTelemetry puts it.
type Agent struct {
	version string
	// own describes the agent, and goes with its metrics; common is what of it
	// also holds for records about others.
	own, common *resource.Resource
}

const (
	serviceName = "tcplimbo"

	resourceVariable = "OTEL_RESOURCE_ATTRIBUTES"
)

// NewAgent describes the agent; what OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME say wins. It takes the former out of the environment: the SDK
// puts it into the Resource of every provider (sdk/log 1.47, WithResource), and
// records about other pods would come from the agent's own.
func NewAgent(ctx context.Context, id Identity) (*Agent, error) {
	attrs := []attribute.KeyValue{attribute.String("service.name", serviceName)}
	for _, kv := range [][2]string{{"service.version", id.Version}, {"host.name", id.Host}, {"k8s.node.name", id.Node}} {
		if kv[1] != "" {
			attrs = append(attrs, attribute.String(kv[0], kv[1]))
		}
	}
	own, err := resource.New(ctx, resource.WithAttributes(attrs...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w; write KEY=VALUE,KEY=VALUE", resourceVariable, err)
	}
	if err := os.Unsetenv(resourceVariable); err != nil {
		return nil, fmt.Errorf("taking %s out of the environment: %w", resourceVariable, err)
	}
	return &Agent{version: id.Version, own: own, common: withoutWorkload(own)}, nil
}

// workloadKeys are the attributes of a record that also stand in its Resource:
// who it is about, for what routes and enriches by Resource.
var workloadKeys = []string{
	"container.id", "k8s.container.name", "k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid",
	"host.name", "k8s.node.name",
}

// agentsOwn are prefixes of attributes that say in what the agent runs. They
// come from OTEL_RESOURCE_ATTRIBUTES, and beside the pod that a record is about
// they would name two.
var agentsOwn = []string{
	"container.", "process.",
	"k8s.container.", "k8s.namespace.", "k8s.pod.", "k8s.daemonset.", "k8s.deployment.", "k8s.replicaset.",
	"k8s.statefulset.", "k8s.job.", "k8s.cronjob.",
}

// withoutWorkload returns what of the agent's Resource also holds for records
// about others.
func withoutWorkload(agent *resource.Resource) *resource.Resource {
	attrs := slices.DeleteFunc(agent.Attributes(), func(kv attribute.KeyValue) bool {
		return slices.ContainsFunc(agentsOwn, func(prefix string) bool {
			return strings.HasPrefix(string(kv.Key), prefix)
		})
	})
	return resource.NewSchemaless(attrs...)
}
