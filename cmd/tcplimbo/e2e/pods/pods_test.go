package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// agentPod runs tcplimbo as its DaemonSet does: three capabilities, the runtime's
// own seccomp profile, a root that cannot be written, no privileges.
func agentPod(n *node, name string, args ...string) *pod {
	p := &pod{
		namespace: "monitoring", name: name, container: "tcplimbo", hostPID: true,
		args: append([]string{
			// containerd passes standard output on, as long as it runs.
			"/tcplimbo", "run", "-o", "none", "--log-file", "/run/containerd/" + name + ".json",
			"--metrics-addr", "", "--close-wait", "1s", "--group-above", "0",
		}, args...),
		linux: &runtime.LinuxContainerSecurityContext{
			Capabilities: &runtime.Capability{
				DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"BPF", "PERFMON", "SYS_PTRACE"},
			},
			Seccomp:        &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault},
			ReadonlyRootfs: true, NoNewPrivs: true,
		},
		mounts: []*runtime.Mount{{HostPath: n.dir, ContainerPath: "/run/containerd"}},
	}
	n.run(p)
	return p
}

// records returns what an agent has written so far.
func (n *node) records(p *pod) []map[string]any {
	n.t.Helper()
	data, err := os.ReadFile(path.Join(n.dir, p.name+".json"))
	if err != nil {
		return nil // not started yet
	}
	var all []map[string]any
	for line := range bytes.Lines(data) {
		record := map[string]any{}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &record); err != nil {
			n.t.Fatalf("decoding %q: %v", line, err)
		}
		all = append(all, record)
	}
	return all
}

// of returns the records about the sockets of one container.
func of(records []map[string]any, id string) []map[string]any {
	var mine []map[string]any
	for _, r := range records {
		if r["container.id"] == id {
			mine = append(mine, r)
		}
	}
	return mine
}

// TestPods: leaks inside of two pods are told apart by namespace, pod and container,
// by an agent that is a pod itself; and go on to be told when the runtime is stopped.
func TestPods(t *testing.T) {
	n := startNode(t)
	shop := &pod{namespace: "shop", name: "cart-7c9d8b6f5-x2x4q", container: "cart", args: []string{"/leakypod", "leak"}}
	bank := &pod{namespace: "bank", name: "ledger-0", container: "books", args: []string{"/leakypod", "leak"}}
	n.run(shop)
	n.run(bank)
	agent := agentPod(n, "tcplimbo-4711", "--cri-socket", "/run/containerd/c.sock")
	for _, p := range []*pod{shop, bank} {
		n.until("leaks of "+p.name+" are told", func(context.Context) error {
			return named(of(n.records(agent), p.id), p, 5)
		})
	}
	for _, r := range n.records(agent) {
		if name := r["process.executable.name"]; name == "leakypod" && r["container.id"] != shop.id && r["container.id"] != bank.id {
			t.Errorf("a leak of no pod: %v", r)
		}
	}

	n.list(shop, bank)
	n.stop()
	before := len(opened(of(n.records(agent), shop.id)))
	n.until("leaks are told without the runtime", func(context.Context) error {
		if now := len(opened(of(n.records(agent), shop.id))); now < before+5 {
			return fmt.Errorf("%d findings after %d", now, before)
		}
		return named(of(n.records(agent), shop.id), shop, before+5)
	})
	n.start()

	// Nobody to ask: what the cgroup says is said.
	alone := agentPod(n, "tcplimbo-4712", "--cri-socket", "/run/containerd/nobody.sock")
	n.until("leaks are told without names", func(context.Context) error {
		mine := opened(of(n.records(alone), bank.id))
		if len(mine) == 0 {
			return fmt.Errorf("no finding among %d records", len(n.records(alone)))
		}
		if r := mine[0]; r["k8s.pod.uid"] != bank.uid || r["k8s.pod.name"] != nil {
			return fmt.Errorf("the record is %v", r)
		}
		return nil
	})
}

func opened(records []map[string]any) []map[string]any {
	var mine []map[string]any
	for _, r := range records {
		if r["tcplimbo.finding.status"] == "open" {
			mine = append(mine, r)
		}
	}
	return mine
}

// named reports what is not right about a pod's findings, of which there must be so
// many. The first may have been sent before the runtime answered.
func named(records []map[string]any, p *pod, least int) error {
	if have := len(opened(records)); have < least {
		return fmt.Errorf("%d findings, want %d", have, least)
	}
	last := records[len(records)-1]
	for key, want := range map[string]any{
		"k8s.namespace.name": p.namespace, "k8s.pod.name": p.name, "k8s.pod.uid": p.uid, "k8s.container.name": p.container,
		"process.executable.name": "leakypod", "network.connection.state": "close_wait",
	} {
		if last[key] != want {
			return fmt.Errorf("%s is %v, want %v", key, last[key], want)
		}
	}
	return nil
}

// list runs `tcplimbo list` outside of all pods and looks for the leaks of some.
func (n *node) list(pods ...*pod) {
	n.t.Helper()
	out, err := exec.Command(tcplimbo, "list", "-o", "json", "--by", "pod", "--state", "close_wait", "--cri-socket", n.socket).Output()
	if err != nil {
		n.t.Fatalf("listing by pod: %v", err)
	}
	for _, p := range pods {
		if !bytes.Contains(out, []byte(`"k8s.namespace.name":"`+p.namespace+`","k8s.pod.name":"`+p.name+`"`)) {
			n.t.Errorf("pod %s is not listed:\n%s", p.name, out)
		}
	}
}
