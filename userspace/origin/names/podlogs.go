package names

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

// podLogFiles reads names from those of the log files that the kubelet has written for
// each pod. It needs no runtime.
type podLogFiles struct {
	// pods has a directory NAMESPACE_POD_UID a pod, and in it one a container
	// (k8s.io/kubernetes, pkg/kubelet/kuberuntime/helpers.go, BuildPodLogsDirectory).
	pods string
	// containers has a link POD_NAMESPACE_CONTAINER-ID.log a container (legacy.go).
	containers string
}

// newPodLogs returns the names below these directories, usually /var/log/pods and
// /var/log/containers.
func newPodLogs(pods, containers string) *podLogFiles { return &podLogFiles{pods, containers} }

// Name implements Source.
func (l *podLogFiles) Name() string { return l.pods }

// All implements Source. Files are looked at only when they are needed.
func (l *podLogFiles) All(context.Context) ([]Container, error) { return nil, nil }

// Find implements Source.
func (l *podLogFiles) Find(_ context.Context, at origin.Place) (Container, bool, error) {
	var c Container
	if at.PodUID != "" {
		dir, err := l.match(l.pods, func(name string) bool { return strings.HasSuffix(name, "_"+at.PodUID) })
		if err != nil {
			return Container{}, false, err
		}
		if c = fromPodDir(dir); c.PodUID == at.PodUID && at.ContainerID != "" {
			c.Name = l.only(l.pods + "/" + dir)
		}
	}
	if at.ContainerID != "" {
		link, err := l.match(l.containers, func(name string) bool { return strings.HasSuffix(name, "-"+at.ContainerID+".log") })
		if err != nil {
			return Container{}, false, err
		}
		if named, ok := fromLink(link, at.ContainerID); ok {
			named.PodUID = at.PodUID
			c = named
		}
	}
	c.ID = at.ContainerID
	return limited(c), c.Pod != "", nil
}

// fromPodDir reads NAMESPACE_POD_UID. Neither of them may have an underscore
// (RFC 1123 labels and subdomains).
func fromPodDir(dir string) Container {
	fields := strings.Split(dir, "_")
	if len(fields) != 3 {
		return Container{}
	}
	return Container{Namespace: fields[0], Pod: fields[1], PodUID: fields[2]}
}

// fromLink reads POD_NAMESPACE_CONTAINER-ID.log.
func fromLink(link, id string) (Container, bool) {
	fields := strings.Split(strings.TrimSuffix(link, "-"+id+".log"), "_")
	if len(fields) != 3 {
		return Container{}, false
	}
	return Container{Pod: fields[0], Namespace: fields[1], Name: fields[2]}, true
}

// only returns the name of a pod's container, if it has only that one.
func (l *podLogFiles) only(dir string) string {
	var names []string
	_ = eachName(dir, func(name string) bool {
		names = append(names, name)
		return len(names) < 2
	})
	if len(names) != 1 {
		return ""
	}
	return names[0]
}

func (l *podLogFiles) match(dir string, fits func(string) bool) (string, error) {
	found := ""
	err := eachName(dir, func(name string) bool {
		if fits(name) {
			found = name
		}
		return found == ""
	})
	return found, err
}

// namesAtOnce bounds the memory for a directory, filesMax what is read of it.
const (
	namesAtOnce = 256
	filesMax    = 1 << 16
)

// eachName calls fn with the names in a directory until it returns false. That
// there is no such directory is no error.
func eachName(dir string, fn func(string) bool) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading names of pods: %w", err)
	}
	defer f.Close()
	for range filesMax / namesAtOnce {
		names, err := f.Readdirnames(namesAtOnce)
		for _, name := range names {
			if !fn(name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading names of pods: %w", err)
		}
	}
	return nil
}
