package names

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

// dockerEngine is an engine that speaks Docker's API: Docker, or Podman's service.
type dockerEngine struct {
	socket string
	client http.Client
}

// newDocker returns the engine that listens at a socket; it need not be
// there yet, or at all.
func newDocker(socket string) *dockerEngine {
	return &dockerEngine{socket: socket, client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		// Asked every half a minute: a connection kept open is worth nothing.
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}}}
}

// Name implements Source.
func (d *dockerEngine) Name() string { return d.socket }

// listed and inspected are what is read of an answer (Docker Engine API, v1.24 and
// newer, ContainerSummary and ContainerInspectResponse).
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Labels map[string]string
}

type inspected struct {
	ID     string `json:"Id"`
	Name   string
	Config struct{ Labels map[string]string }
}

// All implements Source.
func (d *dockerEngine) All(ctx context.Context) ([]Container, error) {
	if !isThere(d.socket) {
		return nil, nil
	}
	var list []listed
	if _, err := d.get(ctx, "/containers/json", &list); err != nil {
		return nil, err
	}
	all := make([]Container, 0, len(list))
	for i := range list {
		name := ""
		if len(list[i].Names) > 0 {
			name = list[i].Names[0]
		}
		all = append(all, ofDocker(list[i].ID, name, list[i].Labels))
	}
	return all, nil
}

// Find implements Source.
func (d *dockerEngine) Find(ctx context.Context, at origin.Place) (Container, bool, error) {
	if at.ContainerID == "" || !isThere(d.socket) {
		return Container{}, false, nil
	}
	var c inspected
	ok, err := d.get(ctx, "/containers/"+at.ContainerID+"/json", &c)
	if err != nil || !ok || c.ID != at.ContainerID {
		return Container{}, false, err
	}
	return ofDocker(c.ID, c.Name, c.Config.Labels), true, nil
}

// ofDocker takes a pod's names from the labels that cri-dockerd gives; of others
// the name is the user's.
func ofDocker(id, name string, labels map[string]string) Container {
	return limited(Container{
		ID:   id,
		Name: first(labels[labelContainer], strings.TrimPrefix(name, "/")), Namespace: labels[labelNamespace],
		Pod: labels[labelPod], PodUID: labels[labelPodUID], Labels: labels,
	})
}

// get reads an answer; false if there is no such container.
func (d *dockerEngine) get(ctx context.Context, path string, to any) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return false, fmt.Errorf("asking the container engine: %w", err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return false, fmt.Errorf("asking the container engine: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return false, nil
	default:
		return false, fmt.Errorf("asking the container engine: it answers %d", resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerMax)).Decode(to); err != nil {
		return false, fmt.Errorf("reading the container engine's answer: %w", err)
	}
	return true, nil
}
