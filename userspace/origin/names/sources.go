package names

import "os"

// Where runtimes usually listen.
var (
	usualCRI = []string{
		"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock",
		"/run/cri-dockerd.sock",
	}
	usualEngines = []string{"/var/run/docker.sock", "/run/podman/podman.sock"}
)

const (
	podLogs       = "/var/log/pods"
	containerLogs = "/var/log/containers"
)

// Usual returns the sources that hosts usually have. Those that are not there are
// asked again and again: an agent may start before its host's runtime.
func Usual() []Source {
	var all []Source
	for _, socket := range usualCRI {
		all = append(all, newCRI(socket, true))
	}
	for _, socket := range usualEngines {
		all = append(all, newDocker(socket))
	}
	return append(all, Files())
}

// Chosen returns the runtime at a socket that somebody chose.
func Chosen(socket string) []Source { return []Source{newCRI(socket, false), Files()} }

// Files returns the source that needs no runtime.
func Files() Source { return newPodLogs(podLogs, containerLogs) }

func isThere(socket string) bool {
	_, err := os.Stat(socket)
	return err == nil
}
