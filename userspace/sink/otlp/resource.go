package otlp

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Agent is who sends.
type Agent struct {
	// Version is the program's, Host the host's name, Node that of its
	// Kubernetes node; the latter two may be empty.
	Version, Host, Node string
}

const serviceName = "tcplimbo"

// agentResource describes the agent itself; what OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME say wins.
func agentResource(ctx context.Context, a Agent) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{attribute.String("service.name", serviceName)}
	for _, kv := range [][2]string{{"service.version", a.Version}, {"host.name", a.Host}, {"k8s.node.name", a.Node}} {
		if kv[1] != "" {
			attrs = append(attrs, attribute.String(kv[0], kv[1]))
		}
	}
	res, err := resource.New(ctx, resource.WithAttributes(attrs...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("reading OTEL_RESOURCE_ATTRIBUTES: %w; write KEY=VALUE,KEY=VALUE", err)
	}
	return res, nil
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
