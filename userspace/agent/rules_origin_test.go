package agent

import (
	"testing"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// pods answers by the path of the program.
type pods map[string]*finding.Workload

func (p pods) Of(of *finding.Process, _ *flow.ID, _, _ time.Duration) *finding.Workload {
	return p[of.Path]
}

// Rules by namespace and label are asked with what is known of the container.
func TestRulesByPod(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		b.cfg.Origin = pods{
			"/bin/a": {ContainerID: "a", Namespace: "kube-system"},
			"/bin/b": {ContainerID: "b", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		}
		b.cfg.Rules.Rules = []rules.Rule{
			{Match: rules.Match{Namespaces: []rules.Glob{"kube-*"}}, Ignore: true},
			{
				Match:     rules.Match{Labels: []rules.Label{{Key: "app", Values: []rules.Glob{"web", "api"}}}},
				Threshold: by(finding.CloseWaitSilent, 5*time.Second),
			},
		}
		b.start()
		b.stuck(1, "/bin/a")
		b.stuck(2, "/bin/b")
		b.stuck(3, "/bin/c")
		f := b.expect(5*time.Second+inTime, "open eof_ignored")[0]
		if f.Owner.Process.Path != "/bin/b" || f.Workload.Namespace != "shop" {
			t.Errorf("told of %s", f.Message)
		}
		b.k.move(2, flow.StateClose, 0)
		b.expect(inTime, "resolved closed")
		f = b.expect(25*time.Second, "open eof_ignored")[0]
		if f.Owner.Process.Path != "/bin/c" {
			t.Errorf("told of %s", f.Message)
		}
	})
}
