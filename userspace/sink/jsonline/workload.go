package jsonline

import (
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// limits are those of the texts that make a line long, and how many holders it has.
type limits struct{ message, path, pod, holders int }

// A line that does not fit with the wide limits is written with the tight ones: a
// long message says again what has keys of its own, and the rest of the holders is
// in their number.
var (
	wide  = limits{message: maxMessage, path: maxPath, pod: maxPod, holders: finding.MaxHolders}
	tight = limits{message: 320, path: 96, pod: 128, holders: 4}
)

const (
	// maxContainerID holds the ids of all runtimes.
	maxContainerID = 64
	// maxPod holds a pod's name, a DNS subdomain, maxLabel a namespace's and a
	// container's (RFC 1123, section 2.1).
	maxPod   = 253
	maxLabel = 63
	maxUID   = 64
)

// appendWorkload appends what is known of the container.
func appendWorkload(dst []byte, w *finding.Workload, limit *limits) []byte {
	if w == nil {
		return dst
	}
	dst = appendText(dst, `,"container.id":`, w.ContainerID, maxContainerID)
	dst = appendText(dst, `,"k8s.namespace.name":`, w.Namespace, maxLabel)
	dst = appendText(dst, `,"k8s.pod.name":`, w.Pod, limit.pod)
	dst = appendText(dst, `,"k8s.pod.uid":`, w.PodUID, maxUID)
	if w.Pod == "" && w.PodUID == "" {
		// The name that Docker or Podman gave it.
		return appendText(dst, `,"container.name":`, w.Container, maxName)
	}
	return appendText(dst, `,"k8s.container.name":`, w.Container, maxLabel)
}
