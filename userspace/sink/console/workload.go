package console

import (
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

const (
	// maxPod holds a pod's name, a DNS subdomain.
	maxPod = 253
	// shortID is how much of a container's id people use.
	shortID = 12
)

// workload names the pod or the container, by what is known of it.
func workload(w *finding.Workload) string {
	if w == nil {
		return ""
	}
	id := w.ContainerID[:min(len(w.ContainerID), shortID)]
	name := readable.Safe(w.Container, maxName)
	switch {
	case w.Pod != "":
		text := "pod " + readable.Safe(w.Namespace, maxName) + "/" + readable.Safe(w.Pod, maxPod)
		if name != "" {
			text += " (" + name + ")"
		}
		return text
	case name != "":
		return "container " + name
	case id != "":
		return "container " + readable.Safe(id, maxName)
	case w.PodUID != "":
		return "pod " + readable.Safe(w.PodUID, maxName)
	}
	return ""
}
