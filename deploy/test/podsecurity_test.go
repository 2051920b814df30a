package deploytest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// violations are what docs/security.md lists, in the words of Pod Security.
var violations = map[api.Level][]string{
	api.LevelPrivileged: nil,
	api.LevelBaseline: {
		`host namespaces (hostPID=true)`,
		`hostPath volumes (volume "pod-logs")`,
		`non-default capabilities (container "tcplimbo" must not include "BPF", "PERFMON", "SYS_PTRACE" in securityContext.capabilities.add)`,
	},
	api.LevelRestricted: {
		`host namespaces (hostPID=true)`,
		`restricted volume types (volume "pod-logs" uses restricted volume type "hostPath")`,
		`runAsNonRoot != true (pod or container "tcplimbo" must set securityContext.runAsNonRoot=true)`,
		`runAsUser=0 (container "tcplimbo" must not set runAsUser=0)`,
		`unrestricted capabilities (container "tcplimbo" must not include "BPF", "PERFMON", "SYS_PTRACE" in securityContext.capabilities.add)`,
	},
}

// TestPodSecurity: the pod asks for what is documented and for nothing else.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := decode(t, read(t, filepath.Join(root, "deploy", "kubernetes", "tcplimbo.yaml")))
	pod := one[*appsv1.DaemonSet](t, plain).Spec.Template
	documented := read(t, filepath.Join(root, "docs", "security.md"))
	for level, want := range violations {
		results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)
		var got []string
		for _, r := range results {
			if !r.Allowed {
				got = append(got, r.ForbiddenReason+" ("+r.ForbiddenDetail+")")
				if !strings.Contains(documented, r.ForbiddenReason) {
					t.Errorf("docs/security.md does not say that the pod violates %q", r.ForbiddenReason)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("level %s:\ngot  %s\nwant %s", level, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}
