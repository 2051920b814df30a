package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

var chart = filepath.Join(root, "deploy", "helm", "tcplimbo")

// everything turns all options of the chart on.
const everything = `
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [{name: registry}]
config: {close-wait: 1m, syn-sent: 0, log-file-max-size: 10MiB}
extraArgs: ["--tick=500ms"]
extraEnv: [{name: GOGC, value: "50"}]
capabilities: {extra: [SYSLOG, DAC_READ_SEARCH]}
appArmorProfile: {type: Unconfined}
cri: {enabled: true}
serviceAccount: {annotations: {a: b}}
priorityClassName: system-node-critical
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
podAnnotations: {a: b}
podLabels: {c: d}
podMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}, disabled: [TcplimboLate]}
dashboard: {enabled: true, annotations: {grafana_folder: Network}}
`

const little = `
fullnameOverride: limbo
metrics: {enabled: false}
capabilities: {sysPtrace: false}
podLogs: {enabled: false}
serviceAccount: {create: false}
tolerations: []
resources: {}
`

// render runs helm template and returns the objects, decoded strictly.
func render(t *testing.T, values, kubeVersion string) []runtime.Object {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	write(t, file, values)
	text, err := helm(t, "template", "limbo", chart, "--namespace", "monitoring", "--kube-version", kubeVersion, "--values", file,
		"--api-versions", "monitoring.coreos.com/v1")
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, text)
}

// decode reads manifests as the API server does under strict validation: an
// unknown or doubled field is an error.
func decode(t *testing.T, text string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		if !strings.Contains(document, "kind:") {
			continue
		}
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("decoding strictly: %v\n%s", err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

// one returns the only object of a type.
func one[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	var found []T
	for _, o := range objects {
		if of, ok := o.(T); ok {
			found = append(found, of)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestChartRenders(t *testing.T) {
	for _, test := range []struct {
		name, values, kube string
		objects            int
	}{
		{"defaults", "{}", "1.33.0", 3},
		{"defaults on an old cluster", "{}", "1.25.0", 3},
		{"everything", everything, "1.33.0", 6},
		{"little", little, "1.33.0", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := render(t, test.values, test.kube)
			if len(objects) != test.objects {
				t.Errorf("%d objects, want %d", len(objects), test.objects)
			}
			set := one[*appsv1.DaemonSet](t, objects)
			for key, value := range set.Spec.Selector.MatchLabels {
				if set.Spec.Template.Labels[key] != value {
					t.Errorf("the selector wants %s=%s, the pods have %q", key, value, set.Spec.Template.Labels[key])
				}
			}
			mounts := map[string]bool{}
			for _, m := range set.Spec.Template.Spec.Containers[0].VolumeMounts {
				mounts[m.Name] = true
			}
			if len(mounts) != len(set.Spec.Template.Spec.Volumes) {
				t.Errorf("mounts %v, volumes %v", mounts, set.Spec.Template.Spec.Volumes)
			}
		})
		t.Run(test.name+" lint", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "values.yaml")
			write(t, file, test.values)
			if out, err := helm(t, "lint", "--strict", chart, "--values", file, "--kube-version", test.kube); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestChartConfines: what the agent's container may do is what is documented.
func TestChartConfines(t *testing.T) {
	for _, test := range []struct {
		name, values string
		capabilities string
	}{
		{"defaults", "{}", "BPF PERFMON SYS_PTRACE"},
		{"little", little, "BPF PERFMON"},
		{"everything", everything, "BPF PERFMON SYS_PTRACE SYSLOG DAC_READ_SEARCH"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := one[*appsv1.DaemonSet](t, render(t, test.values, "1.33.0")).Spec.Template.Spec
			if !pod.HostPID || pod.HostNetwork || pod.HostIPC || *pod.AutomountServiceAccountToken {
				t.Error("wanted the host's pid namespace and nothing else")
			}
			security := pod.Containers[0].SecurityContext
			if *security.Privileged || *security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem {
				t.Errorf("not confined: %+v", security)
			}
			var added []string
			for _, c := range security.Capabilities.Add {
				added = append(added, string(c))
			}
			if got := strings.Join(added, " "); got != test.capabilities {
				t.Errorf("capabilities %q, want %q", got, test.capabilities)
			}
			if drop := security.Capabilities.Drop; len(drop) != 1 || drop[0] != "ALL" {
				t.Errorf("drops %v, want all", drop)
			}
			for _, v := range pod.Containers[0].VolumeMounts {
				if !v.ReadOnly {
					t.Errorf("%s can be written", v.Name)
				}
			}
			if probes := pod.Containers[0].LivenessProbe != nil; probes != (test.name != "little") {
				t.Errorf("probes %v", probes)
			}
		})
	}
}

func TestChartRefuses(t *testing.T) {
	for _, test := range []struct{ name, values, complaint string }{
		{"unknown value", "hostNetwork: true", "hostNetwork"},
		{"capability that makes it root", "capabilities: {extra: [SYS_ADMIN]}", "extra"},
		{"address in the file", "config: {metrics-addr: '0.0.0.0:1'}", "metrics-addr"},
		{"digest", "image: {digest: latest}", "digest"},
		{"scraping nothing", "{metrics: {enabled: false}, podMonitor: {enabled: true}}", "podMonitor.enabled needs metrics.enabled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "values.yaml")
			write(t, file, test.values)
			_, err := helm(t, "template", "limbo", chart, "--kube-version", "1.33.0", "--values", file)
			if err == nil || !strings.Contains(err.Error(), test.complaint) {
				t.Errorf("got %v, want a complaint with %q", err, test.complaint)
			}
		})
	}
}

// TestChartConfigIsRead: the program takes the file that the chart writes, and
// the arguments that it gives.
func TestChartConfigIsRead(t *testing.T) {
	objects := render(t, strings.Replace(everything, "tick=500ms", "tick=nonsense", 1), "1.33.0")
	folder := t.TempDir()
	file := filepath.Join(folder, "tcplimbo.yaml")
	for _, o := range objects {
		if config, ok := o.(*corev1.ConfigMap); ok && config.Data["tcplimbo.yaml"] != "" {
			write(t, file, config.Data["tcplimbo.yaml"])
		}
	}
	container := one[*appsv1.DaemonSet](t, objects).Spec.Template.Spec.Containers[0]
	args := append([]string{}, container.Args...)
	for i := range args {
		args[i] = strings.Replace(args[i], "/etc/tcplimbo", folder, 1)
	}
	// The one mistake is the last argument: all before it was understood.
	out, code := runProgram(t, args...)
	if code != 2 || !strings.Contains(out, `--tick: "nonsense"`) {
		t.Errorf("exit code %d, want 2 and a word about --tick:\n%s", code, out)
	}
	write(t, file, read(t, file)+"closewait: 1s\n")
	if out, code := runProgram(t, args...); code != 2 || !strings.Contains(out, "closewait") {
		t.Errorf("exit code %d, want 2 and a word about closewait:\n%s", code, out)
	}
}

// TestManifestsAreMade: what is derived from the chart is what the chart gives.
func TestManifestsAreMade(t *testing.T) {
	helmPath := os.Getenv("HELM")
	if helmPath == "" {
		helmPath = tool(t, "helm")
	}
	folder := filepath.Join(root, "deploy")
	if made := output(t, filepath.Join(folder, "kubernetes", "render"), helmPath); made != read(t, filepath.Join(folder, "kubernetes", "tcplimbo.yaml")) {
		t.Error("deploy/kubernetes/tcplimbo.yaml is not what the chart gives: run make manifests")
	}
	for copied, of := range map[string]string{
		"tcplimbo.rules.yaml": "prometheus/tcplimbo.rules.yaml",
		"tcplimbo.json":       "grafana/tcplimbo.json",
	} {
		if read(t, filepath.Join(chart, "files", copied)) != read(t, filepath.Join(folder, of)) {
			t.Errorf("the chart's %s is not deploy/%s: run make manifests", copied, of)
		}
	}
}

func TestPlainManifest(t *testing.T) {
	objects := decode(t, read(t, filepath.Join(root, "deploy", "kubernetes", "tcplimbo.yaml")))
	if len(objects) != 4 {
		t.Errorf("%d objects, want namespace, account, settings and daemon set", len(objects))
	}
	space := one[*corev1.Namespace](t, objects)
	for _, o := range objects {
		if named, ok := o.(interface{ GetNamespace() string }); ok && o != runtime.Object(space) && named.GetNamespace() != space.Name {
			t.Errorf("%T is in %q, not in %q", o, named.GetNamespace(), space.Name)
		}
	}
}

// TestChartShipsTheRules: all alerts but those that were turned off.
func TestChartShipsTheRules(t *testing.T) {
	rules := one[*monitoringv1.PrometheusRule](t, render(t, everything, "1.33.0"))
	shipped := 0
	for _, g := range rules.Spec.Groups {
		for _, r := range g.Rules {
			shipped++
			if r.Alert == "TcplimboLate" {
				t.Error("a disabled alert is there")
			}
		}
	}
	source := read(t, filepath.Join(root, "deploy", "prometheus", "tcplimbo.rules.yaml"))
	if want := strings.Count(source, "- alert:") - 1; shipped != want {
		t.Errorf("%d alerts, want %d", shipped, want)
	}
	if monitor := one[*monitoringv1.PodMonitor](t, render(t, everything, "1.33.0")); !monitor.Spec.PodMetricsEndpoints[0].HonorLabels {
		t.Error("the pod monitor would overwrite the owners' labels by the agent's own")
	}
}
